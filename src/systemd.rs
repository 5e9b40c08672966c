//! The service manager: readiness, reload and stop notices, watchdog, inherited sockets.
