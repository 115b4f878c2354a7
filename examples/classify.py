"""Names what is in a picture: python classify.py MODEL.pte LABELS.txt PICTURE."""

import sys
from pathlib import Path

import executorch_webgpu
from executorch_webgpu.pictures import Preparing, likeliest, load_labels

program, labels, picture = map(Path, sys.argv[1:])
model = executorch_webgpu.load(program)
((kind, sizes),) = model.signature()
(scores,) = model.forward(Preparing().load(picture, "the input", kind, sizes))
for name, chance in likeliest(scores, load_labels(labels)):
    print(f"{chance:7.1%}  {name}")
