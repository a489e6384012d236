"""Input: data sources and the tf.data pipeline. The only package that imports TensorFlow."""
