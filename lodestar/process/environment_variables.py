"""Environment variables that Lodestar reads, in one table: names, what each is for, and whether its value is a secret."""

from dataclasses import dataclass

CHECKPOINTS = "LODESTAR_CHECKPOINTS"
COLLECT_KEY = "LODESTAR_COLLECT_KEY"
FEATURES = "LODESTAR_FEATURES"
KAFKA_PASSWORD = "LODESTAR_KAFKA_PASSWORD"  # noqa: S105  # the variable's name
PARENT = "LODESTAR_PARENT"
POD = "LODESTAR_POD_"
REDIS = "LODESTAR_REDIS"
REDIS_LOGIN = "LODESTAR_REDIS_LOGIN"
FEAST_REGISTRY = "LODESTAR_REGISTRY"
TENSORBOARD = "LODESTAR_TENSORBOARD"
TRAINING = "LODESTAR_TRAINING"


@dataclass(frozen=True, kw_only=True)
class EnvironmentVariable:
    """What an environment variable is for; `is_secret`: it comes from a Secret, and stands in no message."""

    description: str
    is_secret: bool = False


VARIABLES: dict[str, EnvironmentVariable] = {
    TRAINING: EnvironmentVariable(
        description='training job of the train step: `local`, or a JSON object such as `{"workers": 2, "gpus": 1}`; '
        "on Kubernetes a PyTorchJob unless set"
    ),
    CHECKPOINTS: EnvironmentVariable(description="folder of training checkpoints; a run that was stopped goes on from there"),
    TENSORBOARD: EnvironmentVariable(description="folder of TensorBoard logs; unset: none are written"),
    FEATURES: EnvironmentVariable(description="folder or `s3://` address of the feature tables, for Feast's offline store"),
    REDIS: EnvironmentVariable(description="`HOST:PORT` of the online store's Redis; unset: a SQLite file beside the bundle"),
    REDIS_LOGIN: EnvironmentVariable(description="`username=…,password=…` for that Redis", is_secret=True),
    FEAST_REGISTRY: EnvironmentVariable(
        description="`postgresql+psycopg://USER:PASSWORD@HOST/DATABASE` of Feast's registry; unset: a file", is_secret=True
    ),
    COLLECT_KEY: EnvironmentVariable(
        description="key that senders of events must show; required where other machines reach it", is_secret=True
    ),
    KAFKA_PASSWORD: EnvironmentVariable(description="SASL password of the collector for Kafka", is_secret=True),
    f"{POD}NAME": EnvironmentVariable(description="name of the step's pod, set by the compiled pipeline"),
    f"{POD}UID": EnvironmentVariable(description="uid of the step's pod, owner of its training job, set by the compiled pipeline"),
    f"{POD}NAMESPACE": EnvironmentVariable(description="namespace of the step's pod, set by the compiled pipeline"),
    PARENT: EnvironmentVariable(description="process of `lodestar run` with which its steps end, set by it"),
    "REDIS_PASSWORD": EnvironmentVariable(description="password of the predictor for Redis", is_secret=True),
    "AWS_ENDPOINT_URL_S3": EnvironmentVariable(description="address of an S3 server that is not Amazon's; read before `AWS_ENDPOINT_URL`"),
    "AWS_ENDPOINT_URL": EnvironmentVariable(description="the same, as every AWS tool reads it"),
    "AWS_ACCESS_KEY_ID": EnvironmentVariable(description="access key for S3, as every AWS tool reads it", is_secret=True),
    "AWS_SECRET_ACCESS_KEY": EnvironmentVariable(description="secret key for S3", is_secret=True),
    "AWS_SESSION_TOKEN": EnvironmentVariable(description="token of temporary credentials for S3", is_secret=True),
    "AWS_CA_BUNDLE": EnvironmentVariable(description="file of the authority that signed the certificate of the S3 server"),
    "AWS_REQUEST_CHECKSUM_CALCULATION": EnvironmentVariable(
        description="`when_supported`: an S3 server that is not Amazon's gets checksums that it need not have"
    ),
    "AWS_RESPONSE_CHECKSUM_VALIDATION": EnvironmentVariable(description="`when_supported`: as well, of what it sends"),
    "OMP_NUM_THREADS": EnvironmentVariable(description="threads of training on a CPU; unset: the number of cores"),
    "TMPDIR": EnvironmentVariable(
        description="folder of temporary files; below it an account has one private folder, and a run a workspace in it"
    ),
    "TERM": EnvironmentVariable(description="type of the terminal; `dumb`: no progress bars"),
    "NO_COLOR": EnvironmentVariable(description="set to anything: no colours on a terminal"),
    "WORLD_SIZE": EnvironmentVariable(description="number of training workers; like the next five, set by torchrun in each of them"),
    "RANK": EnvironmentVariable(description="number of the worker, from 0; worker 0 writes the bundle"),
    "LOCAL_RANK": EnvironmentVariable(description="number of the worker on its machine, and of its GPU"),
    "MASTER_ADDR": EnvironmentVariable(description="host at which the workers meet"),
    "MASTER_PORT": EnvironmentVariable(description="port at which the workers meet"),
    "TORCHELASTIC_USE_AGENT_STORE": EnvironmentVariable(description="`True`: the workers meet in a store of torchrun"),
    "TORCHELASTIC_RESTART_COUNT": EnvironmentVariable(description="how often torchrun has restarted the workers, set by it"),
}
