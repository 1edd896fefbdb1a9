from .evaluation import evaluate as evaluate
from .features.network import FeatureNetwork as FeatureNetwork
from .features.network import open_network as open_network
from .measures.classifier import fit_classifier as fit_classifier
from .measures.parts import part_agreement as part_agreement
from .measures.table import DEFAULT_METRICS as DEFAULT_METRICS
from .measures.table import METRICS as METRICS
from .plan import SamplePlan as SamplePlan
