"""Chat templates in the manner of several families of models, cut down to what concerns tools."""

from typing import Any

from markgraph.engines.fake import byte_tokenizer

_PLAIN = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
_OPEN = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
HERMES = (
    "{% if tools %}<|im_start|>system\n<tools>\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}</tools>"
    "<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}\n<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>'
    f"{{% endfor %}}<|im_end|>\n{{% endfor %}}{_OPEN}"
)
"""Qwen 2 and 3, Hermes: each call between tags."""
LLAMA = (
    "{% for m in messages %}{% if m.tool_calls %}"
    "{% if m.tool_calls | length != 1 %}{{ raise_exception('One call at a time!') }}{% endif %}"
    "{% set c = m.tool_calls[0].function %}<|im_start|>assistant\n"
    '{"name": "{{ c.name }}", "parameters": {{ c.arguments | tojson }}}<|im_end|>\n'
    "{% else %}<|im_start|>{{ m.role }}\n"
    "{% if tools and loop.first %}{% for t in tools %}{{ t | tojson }}\n{% endfor %}{% endif %}"
    f"{{{{ m.content }}}}<|im_end|>\n{{% endif %}}{{% endfor %}}{_OPEN}"
)
"""Llama 3.1: the whole turn is one call."""
MISTRAL = (
    "{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
    "{% for m in messages %}{% if m.tool_calls %}[TOOL_CALLS] ["
    "{% for c in m.tool_calls %}"
    "{% if c.id | length != 9 %}{{ raise_exception('Ids have nine characters!') }}{% endif %}"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}'
    "{% if not loop.last %}, {% endif %}{% endfor %}]<|im_end|>"
    "{% elif m.role == 'tool' %}[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]"
    "{% else %}[INST]{{ m.content }}[/INST]{% endif %}{% endfor %}"
)
"""Mistral: all calls in one list behind a control token."""
PLAIN = f"{{% for m in messages %}}{_PLAIN}{{% endfor %}}{_OPEN}"
"""SmolLM2 and many small ones: no tools."""
ALL = {"hermes": HERMES, "llama": LLAMA, "mistral": MISTRAL, "plain": PLAIN}


def tokenizer_of(family: str) -> Any:
    """Return a tokenizer of bytes with that family's template and control tokens."""
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = ALL[family]
    if family == "mistral":
        tokenizer.add_special_tokens({"additional_special_tokens": ["[TOOL_CALLS]"]})
    return tokenizer
