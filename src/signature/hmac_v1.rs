//! Scheme `hmac-v1`: signed text, MAC, sign; known answers.
