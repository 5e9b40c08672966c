//! The environment of the fleet's `.env` files, laid over the file.
