//! The read-only listener: `/metrics`, `/healthz`, `/readyz`.
