//! Texts as an archive, gzip around tar in its oldest form that every tool reads (ustar, POSIX.1-1988).
//!
//! ```text
//! header of 512 bytes, its rest zero   0 name (100)   100 mode (8)   108 user (8)   116 group (8)   124 size (12)   136 mtime (12)
//!                                      148 sum of its bytes, these taken as blanks (8)   156 type   257 "ustar\0" "00"
//! content                              filled up to 512
//! ...
//! end                                  1024 zero bytes
//! ```
//! Numbers are octal digits with a zero byte behind them. The crate for it would add 13 kB to the program, and reads links, folders and
//! owners that are not wanted here.

use crate::encode::compress::Gzip;

/// Of a header, and what contents are filled up to.
const BLOCK: usize = 512;

/// Of a name.
const NAME_BYTES_MAX: usize = 100;

/// A file that only its owner may read.
const MODE: usize = 0o600;

/// The sum of its bytes is what is written last.
const SUM: std::ops::Range<usize> = 148..156;

/// An archive in the making.
#[derive(Debug)]
pub struct Archive {
    gzip: Gzip,
    mtime_s: usize,
}

impl Archive {
    /// An empty one, whose files are as old as `mtime_s` seconds since 1970 say.
    pub fn new(mtime_s: u64) -> Archive {
        Archive { gzip: Gzip::new(6), mtime_s: usize::try_from(mtime_s).unwrap_or_default() }
    }

    /// Adds a file. A name that is too long is cut.
    pub fn add(&mut self, name: &str, content: &[u8]) {
        let mut header = [0; BLOCK];
        let name = &name.as_bytes()[..name.len().min(NAME_BYTES_MAX)];
        header[..name.len()].copy_from_slice(name);
        for (at, digits, number) in
            [(100, 7, MODE), (108, 7, 0), (116, 7, 0), (124, 11, content.len()), (136, 11, self.mtime_s)]
        {
            put_octal(&mut header[at..at + digits], number);
        }
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[SUM].fill(b' ');
        let sum = header.iter().map(|byte| usize::from(*byte)).sum();
        put_octal(&mut header[SUM.start..SUM.end - 2], sum);
        header[SUM.end - 2] = 0;
        self.gzip.write(&header);
        self.gzip.write(content);
        self.gzip.write(&[0; BLOCK][..content.len().next_multiple_of(BLOCK) - content.len()]);
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.gzip.write(&[0; 2 * BLOCK]);
        self.gzip.finish()
    }
}

/// Fills `digits` with those of `number`.
fn put_octal(digits: &mut [u8], mut number: usize) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 8) as u8;
        number /= 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn each_file_has_a_header_and_whole_blocks() {
        let mut archive = Archive::new(1_767_323_045);
        archive.add("a/one", b"text\n");
        archive.add(&"n".repeat(101), &[]);
        archive.add("a/two", &[b'x'; BLOCK]);
        let mut bytes = Vec::new();
        GzDecoder::new(&archive.finish()[..]).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), BLOCK * (2 + 1 + 2 + 2));
        let header = &bytes[..BLOCK];
        let groups: [(usize, &[u8]); 8] = [
            (0, b"a/one\0"),
            (100, b"0000600\0"),
            (124, b"00000000005\0"),
            (136, b"15125632645\0"), // 1,767,323,045 in octal
            (148, b"006724\0 "),     // 3,540
            (156, b"0"),
            (257, b"ustar\x0000"),
            (265, &[0; BLOCK - 265]),
        ];
        for (at, expected) in groups {
            assert_eq!(&header[at..at + expected.len()], expected, "at {at}");
        }
        assert_eq!(
            (&bytes[BLOCK..BLOCK + 6], &bytes[2 * BLOCK..2 * BLOCK + 101]),
            (&b"text\n\0"[..], &[&[b'n'; 100][..], b"0"].concat()[..])
        );
    }
}
