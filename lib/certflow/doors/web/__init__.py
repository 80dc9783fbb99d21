"""The web application: certify an image and watch the certificate grow. Models are those of the pipeline, or uploaded."""
