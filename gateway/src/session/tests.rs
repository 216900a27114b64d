//! Pure: the session, by its inputs and outputs.
