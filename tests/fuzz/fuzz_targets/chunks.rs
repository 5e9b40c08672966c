//! A chunked body: the same however it is cut into packets, and never longer than what came.
#![no_main]

use countersign::request::framing::{ChunkReader, ChunkStep};
use libfuzzer_sys::fuzz_target;

/// The data, and whether the body ended; `None`: a fault.
fn read(bytes: &[u8], packet: usize) -> Option<(Vec<u8>, bool)> {
    let (mut reader, mut data, mut start, mut end) = (ChunkReader::default(), Vec::new(), 0, 0);
    loop {
        match reader.step(&bytes[start..end]).ok()? {
            ChunkStep::NeedMore if end == bytes.len() => return Some((data, false)),
            ChunkStep::NeedMore => end = (end + packet).min(bytes.len()),
            ChunkStep::Framing(n) => start += n,
            ChunkStep::Data(n) => {
                assert!(n > 0);
                data.extend_from_slice(&bytes[start..start + n]);
                start += n;
            }
            ChunkStep::End(n) => {
                assert!(start + n <= end);
                return Some((data, true));
            }
        }
    }
}

fuzz_target!(|input: (u8, &[u8])| {
    let (packet, bytes) = input;
    let whole = read(bytes, bytes.len().max(1));
    let cut = read(bytes, usize::from(packet).max(1));
    assert_eq!(whole, cut);
});
