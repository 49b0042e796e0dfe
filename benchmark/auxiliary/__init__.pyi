from .autoencoder import (
    AutoencoderError as AutoencoderError,
    AutoencoderRecipe as AutoencoderRecipe,
    TrainedAutoencoder as TrainedAutoencoder,
    auxiliary_images as auxiliary_images,
    train_autoencoder as train_autoencoder,
    trained_autoencoder as trained_autoencoder,
)
