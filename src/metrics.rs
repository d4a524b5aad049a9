//! Every metric, its labels from enums or the configuration.
