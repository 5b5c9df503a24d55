"""Which addresses are public, against registries written down a second time."""

from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from markgraph.sandbox.network import is_public

# IANA's registries of special addresses, written down apart from what the guard has, and what leads there.
SPECIAL_4 = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
    "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
]  # fmt: skip
SPECIAL_6 = [
    "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32",
    "2002::/16", "3fff::/20", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
]  # fmt: skip
NETWORKS_4, NETWORKS_6 = ([ip_network(each) for each in some] for some in (SPECIAL_4, SPECIAL_6))


def in_network(networks: list[Any]) -> st.SearchStrategy[int]:
    return st.sampled_from(networks).flatmap(
        lambda network: st.integers(int(network.network_address), int(network.broadcast_address))
    )


@settings(max_examples=500)
@given(st.one_of(st.integers(0, 2**32 - 1), in_network(NETWORKS_4)))
def test_no_special_address_of_ipv4_is_public(number: int) -> None:
    address = IPv4Address(number)
    special = any(address in network for network in NETWORKS_4)
    if special:
        assert not is_public(str(address))
        assert not is_public(f"::ffff:{address}")
    else:
        assert is_public(str(address))


@settings(max_examples=500)
@given(st.one_of(st.integers(2**125, 2**126 - 1), st.integers(0, 2**128 - 1), in_network(NETWORKS_6)))
@example(int(IPv6Address("2606:4700:4700::1111")))
def test_no_special_address_of_ipv6_is_public(number: int) -> None:
    address = IPv6Address(number)
    if any(address in network for network in NETWORKS_6) or address not in ip_network("2000::/3"):
        assert not is_public(str(address)) or address.ipv4_mapped
