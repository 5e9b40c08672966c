//! Keys in a directory of `*.env` files: permissions are checked on the opened descriptor.
