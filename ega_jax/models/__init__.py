"""Networks: images in [0, 1] to logits, class maps and named intermediates."""

from ega_jax.models.alexnet import AlexNet
from ega_jax.models.efficientnet_lite0 import EfficientNetLite0
from ega_jax.models.googlenet import GoogLeNet
from ega_jax.models.inception_v3 import InceptionV3
from ega_jax.models.network import Network
from ega_jax.models.resnet import ResNet50
from ega_jax.models.vgg import VGG16

NETWORKS: dict[str, type[Network]] = {
    "vgg16": VGG16,
    "googlenet": GoogLeNet,
    "inception_v3": InceptionV3,
    "resnet50": ResNet50,
    "alexnet": AlexNet,
    "efficientnet_lite0": EfficientNetLite0,
}
