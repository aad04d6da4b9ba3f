from easyocr.model.vgg_model import Model  # noqa: F401
