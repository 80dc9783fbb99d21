"""One number per purpose for which randomness is drawn. Two purposes never share draws; numbers are never reused."""

from enum import IntEnum


class Stream(IntEnum):
    """The last word of the Philox counter."""

    SELECTION = 0  # stage 1: picks the class and the budget
    ESTIMATION = 1  # stage 2: the draws that are certified
    PREDICTION = 2  # PREDICT
    SECOND_DISTRIBUTION = 3  # DSRS: draws from Q
    BOUND = 4  # the uniform variate of the randomised bound
    SMOOTHED_PREDICTIONS = 5  # class probabilities of training images
    ATTACK = 6  # an attack's random starts, and its direction where the gradient vanishes
    ATTACK_COPIES = 7  # the noisy copies that an attack on the smoothed classifier looks at
    KNOWLEDGE = 9  # which points a model's features are taken at
    KNOWLEDGE_COPIES = 10  # one noisy copy of each of them
    PILOT = 11  # the draws that a table is estimated from, by which people choose what is certified afterwards
    TRAIN_NOISE = 16
    TRAIN_AUGMENTATION = 17
    TRAIN_ORDER = 18
    TRAIN_EVALUATION = 19
    TRAIN_METHOD = 20  # a method's own coins: mixing weights, the K of bottom-K, attack restarts
    TRAIN_STEP = 21  # what a method tosses once for a whole mini-batch: the layer that a penalty looks at
