"""What `train.publish` sends: checks of the model folder, and what the Space and the dataset repository hold."""
