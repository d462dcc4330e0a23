//! Gzip as a stream into memory: what is put in is not kept, so a body of megabytes costs its compressed size. Crate: flate2.

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::io::Read;
use std::io::Write;

/// What a gzip body of ours holds; `None` if it is damaged or holds more than `bytes_max`.
pub fn gunzip(body: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    GzDecoder::new(body).take(bytes_max as u64 + 1).read_to_end(&mut plain).ok()?;
    (plain.len() <= bytes_max).then_some(plain)
}

/// A gzip body in the making.
#[derive(Debug)]
pub struct Gzip {
    encoder: GzEncoder<Vec<u8>>,
    uncompressed_len: u64,
}

impl Gzip {
    /// An empty body. `level` is 0, which stores, to 9, which takes longest.
    pub fn new(level: u32) -> Gzip {
        Gzip { encoder: GzEncoder::new(Vec::new(), Compression::new(level.min(9))), uncompressed_len: 0 }
    }

    /// Appends `bytes`.
    pub fn write(&mut self, bytes: &[u8]) {
        self.encoder.write_all(bytes).expect("a vector takes every write");
        self.uncompressed_len += bytes.len() as u64;
    }

    /// How much was put in.
    pub fn uncompressed_len(&self) -> u64 {
        self.uncompressed_len
    }

    /// How much has come out; some of what was put in last is not yet part of it.
    pub fn compressed_len(&self) -> usize {
        self.encoder.get_ref().len()
    }

    /// The whole body.
    pub fn finish(self) -> Vec<u8> {
        self.encoder.finish().expect("a vector takes every write")
    }
}

/// A body in the making, compressed or not.
#[derive(Debug)]
pub enum Compressor {
    /// As it is.
    Identity(Vec<u8>),
    /// Compressed.
    Gzip(Gzip),
}

impl Compressor {
    /// An empty body; `level` 0 leaves it as it is.
    pub fn new(level: u32) -> Compressor {
        if level == 0 { Compressor::Identity(Vec::new()) } else { Compressor::Gzip(Gzip::new(level)) }
    }

    /// Appends `bytes`.
    pub fn write(&mut self, bytes: &[u8]) {
        match self {
            Compressor::Identity(body) => body.extend_from_slice(bytes),
            Compressor::Gzip(gzip) => gzip.write(bytes),
        }
    }

    /// The word for `Content-Encoding`, if it needs one.
    pub fn encoding(&self) -> Option<&'static str> {
        match self {
            Compressor::Identity(_) => None,
            Compressor::Gzip(_) => Some("gzip"),
        }
    }

    /// The whole body.
    pub fn finish(self) -> Vec<u8> {
        match self {
            Compressor::Identity(body) => body,
            Compressor::Gzip(gzip) => gzip.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out_again_at_every_level() {
        for level in [0, 1, 6, 9, 99] {
            let mut gzip = Gzip::new(level);
            (0..1000).for_each(|_| gzip.write(b"a line of text\n"));
            assert_eq!(gzip.uncompressed_len(), 15_000);
            let mut text = String::new();
            GzDecoder::new(&gzip.finish()[..]).read_to_string(&mut text).unwrap();
            assert_eq!(text, "a line of text\n".repeat(1000), "level {level}");
        }
    }
}
