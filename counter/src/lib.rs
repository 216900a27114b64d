//! Pure: placeholder
