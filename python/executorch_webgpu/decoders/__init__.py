"""From a decoder somebody has - a GGUF file, a folder of safetensors - to a program.

A newcomer begins with `architectures.py`, the table of what can be exported, and
`transformer.py`, the one definition that all of it becomes. ``docs/decoders.md`` describes
both, and what is kept exact.
"""
