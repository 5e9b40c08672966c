//! [`HeadFault`]: why a request cannot be read one way only; a word for each in audit and metrics.

/// Why a head cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeadFault {
    /// Not `METHOD SP target SP HTTP/1.x`, or a blank line before it.
    RequestLine,
    /// A method that is not a token, or longer than 64 bytes.
    Method,
    /// Neither HTTP/1.1 nor HTTP/1.0.
    Version,
    /// A target that is not a path: absolute-form, authority-form, or `*` without OPTIONS.
    TargetForm,
    /// A byte in the target that servers read differently: control, `#`, 0x80 and up, `<`, `>`, back-tick.
    TargetByte,
    /// `CONNECT`.
    Connect,
    /// The target is longer than the limit.
    TargetTooLong,
    /// The head is longer than the limit.
    HeadTooLong,
    /// More header lines than the limit.
    TooManyFields,
    /// A line end that is not CRLF.
    BareLineEnd,
    /// A line that continues the one before (obs-fold), or a space before the first name.
    FoldedLine,
    /// A header name that is not a token, or not followed directly by a colon.
    FieldName,
    /// A control character in a header value.
    FieldValue,
    /// HTTP/1.1 without `Host`.
    HostMissing,
    /// More than one `Host`.
    HostRepeated,
    /// `Host` is not a host and an optional port.
    HostMalformed,
    /// A `Content-Length` that is repeated or not a plain number.
    ContentLength,
    /// A `Transfer-Encoding` that is anything but a single `chunked`, or any in HTTP/1.0.
    TransferEncoding,
    /// `Content-Length` beside `Transfer-Encoding`.
    LengthAndEncoding,
    /// A chunk that is not of the exact form.
    Chunk,
    /// A trailer line that is not of the exact form, or too many.
    Trailer,
}

impl HeadFault {
    /// A constant word for audit and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            HeadFault::RequestLine => "request_line",
            HeadFault::Method => "method",
            HeadFault::Version => "version",
            HeadFault::TargetForm => "target_form",
            HeadFault::TargetByte => "target_byte",
            HeadFault::Connect => "connect",
            HeadFault::TargetTooLong => "target_too_long",
            HeadFault::HeadTooLong => "head_too_long",
            HeadFault::TooManyFields => "too_many_fields",
            HeadFault::BareLineEnd => "bare_line_end",
            HeadFault::FoldedLine => "folded_line",
            HeadFault::FieldName => "field_name",
            HeadFault::FieldValue => "field_value",
            HeadFault::HostMissing => "host_missing",
            HeadFault::HostRepeated => "host_repeated",
            HeadFault::HostMalformed => "host_malformed",
            HeadFault::ContentLength => "content_length",
            HeadFault::TransferEncoding => "transfer_encoding",
            HeadFault::LengthAndEncoding => "length_and_encoding",
            HeadFault::Chunk => "chunk",
            HeadFault::Trailer => "trailer",
        }
    }
}
