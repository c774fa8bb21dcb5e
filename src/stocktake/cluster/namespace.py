"""What our pods find in their namespace, by name: docs/pipelines.md lists it for those who make one."""

ENDPOINTS = "endpoints"  # ConfigMap that says where MLflow and the stores are
REQUIRED_ENDPOINTS = ("MLFLOW_TRACKING_URI", "STOCKTAKE_STORE")  # its keys, and the variables of the pods
OPTIONAL_ENDPOINTS = ("S3_ENDPOINT_URL", "AWS_REGION")
SERVING_NAMESPACE = "STOCKTAKE_SERVING_NAMESPACE"  # optional key: that of the InferenceServices, if another
S3_CREDENTIALS = "s3-credentials"  # Secret, optional: pods may have an identity of their own
PREDICTOR_SECRET = "predictor-token"  # Secret, optional: its key `token` is what predictors ask for
PREDICTOR_TOKEN = "STOCKTAKE_PREDICTOR_TOKEN"  # the variable that has it
S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
SCRATCH = "/scratch"  # an emptyDir: fetched photos, checkpoints of the pod's life
CHECKPOINT_MINUTES = 5  # of training that a lost pod costs at most, besides an epoch
SHARED_CACHE = "/cache"  # where a PersistentVolumeClaim for fetched photos is mounted, if there is one
