//! Texts of a request without a copy: positions in its bytes, and a second buffer for what had to be written anew.

use std::fmt;
use std::ops::Range;

/// A text inside a [`Texts`]: where it starts and how long it is, in bytes. Always valid UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Text {
    start: u32,
    len: u32,
}

/// Set in `start` when the text lies in the second buffer.
const MADE: u32 = 1 << 31;

impl Text {
    /// The text without characters.
    pub const EMPTY: Text = Text { start: 0, len: 0 };

    /// Whether it has no characters.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Its length in bytes.
    pub fn len(self) -> usize {
        self.len as usize
    }

    /// Bytes at a place of the request, which for a text have been found to be UTF-8.
    pub fn of_request(range: Range<usize>) -> Text {
        if range.is_empty() {
            return Text::EMPTY;
        }
        Text { start: range.start as u32, len: range.len() as u32 }
    }
}

/// A stretch of raw bytes inside the request, such as a `meta_struct` value.
pub type Blob = Text;

/// The bytes behind the [`Text`]s of one payload.
#[derive(Default)]
pub struct Texts {
    request: Vec<u8>,
    made: Vec<u8>,
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Texts({} + {} bytes)", self.request.len(), self.made.len())
    }
}

impl Texts {
    /// Texts that will borrow from `request`, which must be shorter than [`Texts::REQUEST_BYTES_MAX`]; the sources' limits see
    /// to it.
    pub fn new(request: Vec<u8>) -> Texts {
        let mut texts = Texts::default();
        texts.attach(request);
        texts
    }

    /// Forgets all texts; the memory of those that were made stays. The request's bytes come back.
    pub fn reuse(&mut self) -> Vec<u8> {
        self.made.clear();
        std::mem::take(&mut self.request)
    }

    /// The length that a request stays below, so that a position fits 31 bits.
    pub const REQUEST_BYTES_MAX: usize = MADE as usize;

    /// Hands over the request that a decoder has read so far by itself, see [`Texts::borrow_from`].
    pub fn attach(&mut self, request: Vec<u8>) {
        assert!(request.len() < Texts::REQUEST_BYTES_MAX, "sources cap requests far below 2 GiB");
        self.request = request;
    }

    /// The request's bytes.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// The text at `range` of the request, without a copy; repaired in the second buffer where it is not UTF-8: each invalid
    /// byte becomes U+FFFD, the reference agent's rule.
    pub fn borrow(&mut self, range: Range<usize>) -> Text {
        let request = std::mem::take(&mut self.request);
        let text = self.borrow_from(&request, range);
        self.request = request;
        text
    }

    /// Like [`Texts::borrow`], for a request that the caller still holds and will [`attach`](Texts::attach) when it has read it
    /// all.
    pub fn borrow_from(&mut self, request: &[u8], range: Range<usize>) -> Text {
        let bytes = &request[range.clone()];
        if bytes.is_ascii() || std::str::from_utf8(bytes).is_ok() {
            return Text::of_request(range);
        }
        let start = self.made.len();
        // All of it at once: piece by piece the buffer would double more often than `made_growth` tells.
        self.made.reserve(3 * bytes.len());
        for chunk in bytes.utf8_chunks() {
            self.made.extend_from_slice(chunk.valid().as_bytes());
            for _ in chunk.invalid() {
                self.made.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
        self.made_since(start)
    }

    /// The bytes at `range` of the request as a [`Blob`]; also for text that was found valid before.
    pub fn borrow_raw(&self, range: Range<usize>) -> Blob {
        debug_assert!(range.end <= self.request.len());
        Text::of_request(range)
    }

    /// A text of our own, appended to the second buffer. Texts over 2 GiB in all cannot be held and become empty.
    pub fn make(&mut self, text: &str) -> Text {
        self.make_blob(text.as_bytes())
    }

    /// Bytes of our own, appended to the second buffer.
    pub fn make_blob(&mut self, bytes: &[u8]) -> Blob {
        let start = self.made.len();
        self.made.extend_from_slice(bytes);
        self.made_since(start)
    }

    /// The length of the second buffer, to come back to with [`Texts::truncate_made`].
    pub fn made_len(&self) -> usize {
        self.made.len()
    }

    /// Forgets what was made since the second buffer had `len` bytes. Its texts must not be used any more.
    pub fn truncate_made(&mut self, len: usize) {
        self.made.truncate(len);
    }

    /// How much memory the second buffer may grow by if `bytes` are appended to it: nothing, or at least its own size again.
    pub fn made_growth(&self, bytes: usize) -> usize {
        if self.made.capacity() - self.made.len() < bytes { self.made.capacity().max(bytes).max(8) } else { 0 }
    }

    fn made_since(&mut self, start: usize) -> Text {
        if (MADE as usize) <= self.made.len() {
            self.made.truncate(start);
        }
        let len = self.made.len() - start;
        if len == 0 {
            return Text::EMPTY;
        }
        Text { start: start as u32 | MADE, len: len as u32 }
    }

    /// The first `len` bytes of `text`, or fewer so that no character is cut.
    pub fn cut(&self, text: Text, len: usize) -> Text {
        if text.len() <= len {
            return text;
        }
        Text { start: text.start, len: self.str(text).floor_char_boundary(len) as u32 }
    }

    /// The bytes of a text or blob.
    pub fn bytes(&self, text: Text) -> &[u8] {
        self.bytes_inline(text)
    }

    /// The same for loops over all tags, where a call would take longer than what it does.
    #[inline(always)]
    pub fn bytes_inline(&self, text: Text) -> &[u8] {
        match self.onward(text).get(..text.len()) {
            Some(bytes) => bytes,
            None => elsewhere(),
        }
    }

    /// The bytes of a text or blob, and whatever else lies behind it: enough to copy a short one as a block.
    #[inline(always)]
    pub fn onward(&self, text: Text) -> &[u8] {
        let (buffer, start) =
            if text.start & MADE == 0 { (&self.request, text.start) } else { (&self.made, text.start & !MADE) };
        match buffer.get(start as usize..) {
            Some(bytes) => bytes,
            None => elsewhere(),
        }
    }

    /// The bytes of a text while a decoder still holds the request, see [`Texts::borrow_from`].
    pub fn bytes_beside<'a>(&'a self, request: &'a [u8], text: Text) -> &'a [u8] {
        let (buffer, start) = if text.start & MADE == 0 { (request, text.start) } else { (&self.made[..], text.start & !MADE) };
        &buffer[start as usize..][..text.len as usize]
    }

    /// The characters of a text. Every `Text` was checked when it was made, so the empty answer is for blobs only.
    pub fn str(&self, text: Text) -> &str {
        std::str::from_utf8(self.bytes(text)).unwrap_or_default()
    }

    /// Whether two texts read the same, wherever they lie.
    pub fn same(&self, one: Text, other: Text) -> bool {
        one == other || (one.len == other.len && self.bytes(one) == self.bytes(other))
    }

    /// Whether `text` reads `expected`.
    pub fn is(&self, text: Text, expected: &str) -> bool {
        text.len() == expected.len() && self.bytes(text) == expected.as_bytes()
    }

    /// The memory that both buffers take.
    pub fn capacity(&self) -> usize {
        self.request.capacity() + self.made.capacity()
    }
}

#[cold]
fn elsewhere() -> ! {
    panic!("a text is asked for where it lies");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_borrow_from_the_request_and_are_repaired_beside_it() {
        let mut texts = Texts::new(b"plain a\xffb \xe2\x82".to_vec());
        let plain = texts.borrow(0..5);
        let repaired = texts.borrow(6..9);
        let cut_short = texts.borrow(10..12);
        let own = texts.make("own");
        let all = [plain, repaired, cut_short, own].map(|text| texts.str(text));
        assert_eq!(all, ["plain", "a\u{fffd}b", "\u{fffd}\u{fffd}", "own"]);
    }

    #[test]
    fn texts_of_a_request_that_comes_later_are_the_same() {
        let request = b"key \xff".to_vec();
        let mut texts = Texts::default();
        let mark = texts.made_len();
        texts.borrow_from(&request, 4..5);
        texts.truncate_made(mark);
        let (key, repaired) = (texts.borrow_from(&request, 0..3), texts.borrow_from(&request, 4..5));
        texts.attach(request);
        assert!(texts.is(key, "key") && texts.is(repaired, "\u{fffd}") && !texts.same(key, repaired));
    }

    #[test]
    fn a_repair_takes_no_more_memory_than_was_foretold() {
        let request = b"ab\xff".repeat(20);
        for len in 3..request.len() {
            let mut texts = Texts::default();
            for _ in 0..3 {
                let most = texts.capacity() + texts.made_growth(3 * len);
                texts.borrow_from(&request, 0..len);
                assert!(texts.capacity() <= most, "{} and not {most} for {len}", texts.capacity());
            }
        }
    }

    #[test]
    fn a_cut_keeps_characters_whole() {
        let mut texts = Texts::new(Vec::new());
        let text = texts.make("aé");
        assert_eq!(texts.str(texts.cut(text, 2)), "a");
        assert_eq!(texts.str(texts.cut(text, 3)), "aé");
    }
}
