"""The page of a diagnosis: what knowledge continuity says of models, beside what attacks and certificates say."""
