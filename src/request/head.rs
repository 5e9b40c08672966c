//! The bytes of a head and its framing → `RequestHead`, or which fault.
