//! A file's content, whatever it is compressed with. Streams may follow each other in one file, as `cat a.gz b.gz` leaves them, and zeros
//! after the last are padding, as tapes and block devices leave them. Anything else behind a stream is an error.

use crate::compression::Compression;
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

const BUFFER: usize = 256 << 10;
/// A stream that asks for more memory than this to be unpacked is refused. `zstd --ultra -22` takes 128 MiB, `xz -9` 65 MiB.
const MEMORY: u64 = 256 << 20;
const ZSTD_WINDOW_LOG: u32 = 27;
/// No text is unpacked to more than so many times its size (real ones: 4 to 30 times), but anything may become `FREE` bytes. gzip cannot do
/// more than 1,032 times, so a larger bound would be none.
const EXPANSION: u64 = 250;
const FREE: u64 = 1 << 30;

/// The bytes are wrong, rather than the disk: found inside the `io::Error` of a read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Damaged(String);

impl Damaged {
    /// What is wrong with the bytes, if that is what the error is about.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

fn damaged(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Damaged(problem))
}

/// Reads the content of `R`.
pub struct Decoded<R: BufRead> {
    state: State<R>,
    compression: Option<Compression>,
    given: u64,
    most: u64,
}

enum State<R: BufRead> {
    Plain(R),
    Gzip(GzDecoder<R>),
    Bzip2(bzip2::bufread::BzDecoder<R>),
    Xz(Box<XzReader<R>>),
    Zstd(zstd::stream::read::Decoder<'static, R>),
    /// Behind a stream's end.
    Between(R),
    Ended,
}

impl Decoded<BufReader<File>> {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let about = file.metadata()?;
        Self::new(BufReader::with_capacity(BUFFER, file), about.is_file().then_some(about.len()))
    }
}

impl<R: BufRead> Decoded<R> {
    /// `size` is that of the compressed file; without it nothing is bounded by it.
    pub fn new(mut raw: R, size: Option<u64>) -> io::Result<Self> {
        let compression = Compression::of(raw.fill_buf()?);
        let state = if compression.is_some() { State::Between(raw) } else { State::Plain(raw) };
        let most = size.map_or(u64::MAX, |size| size.saturating_mul(EXPANSION).max(FREE));
        Ok(Self { state, compression, given: 0, most })
    }

    pub fn compression(&self) -> Option<Compression> {
        self.compression
    }

    /// Passes over padding and begins the next stream, if there is one.
    fn begin(&mut self, compression: Compression, mut raw: R) -> io::Result<()> {
        let next = loop {
            let buffer = raw.fill_buf()?;
            let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
            match buffer.get(zeros) {
                Some(byte) => {
                    let byte = *byte;
                    raw.consume(zeros);
                    break byte;
                }
                None if buffer.is_empty() => return Ok(()),
                None => raw.consume(zeros),
            }
        };
        if !compression.may_begin_with(next) {
            let problem =
                format!("something else follows the end of the {compression} stream; fetch the file again, or remove what was added");
            return Err(damaged(problem));
        }
        self.state = match compression {
            Compression::Gzip => State::Gzip(GzDecoder::new(raw)),
            Compression::Bzip2 => State::Bzip2(bzip2::bufread::BzDecoder::new(raw)),
            Compression::Xz => State::Xz(Box::new(XzReader::new_mem_limit(raw, false, (MEMORY >> 10) as u32))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(raw)?.single_frame();
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                State::Zstd(decoder)
            }
        };
        Ok(())
    }

    /// The stream has ended; what is behind it comes next.
    fn leave(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Ended) {
            State::Gzip(decoder) => State::Between(decoder.into_inner()),
            State::Bzip2(decoder) => State::Between(decoder.into_inner()),
            State::Xz(decoder) => State::Between(decoder.into_inner()),
            State::Zstd(decoder) => State::Between(decoder.finish()),
            other => other,
        };
    }

    /// Tells bytes that are wrong from a disk that fails, which may be better another time.
    fn explain(&mut self, compression: Compression, error: io::Error) -> io::Error {
        self.state = State::Ended;
        if error.raw_os_error().is_some() || error.kind() == io::ErrorKind::Interrupted || Damaged::of(&error).is_some() {
            return error;
        }
        let memory = error.kind() == io::ErrorKind::OutOfMemory || error.to_string().contains("memory");
        damaged(match error.kind() {
            io::ErrorKind::UnexpectedEof => format!("the {compression} stream is cut off; fetch the file again"),
            _ if memory => format!(
                "the {compression} stream takes more than {} MiB of memory to unpack; compress it with a smaller window (zstd without --long, xz -9)",
                MEMORY >> 20
            ),
            _ => format!("the {compression} stream is damaged ({error}); fetch the file again"),
        })
    }
}

impl<R: BufRead> Read for Decoded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(compression) = self.compression else {
            return if let State::Plain(raw) = &mut self.state { raw.read(out) } else { Ok(0) };
        };
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            let read = match &mut self.state {
                State::Gzip(decoder) => decoder.read(out),
                State::Bzip2(decoder) => decoder.read(out),
                State::Xz(decoder) => decoder.read(out),
                State::Zstd(decoder) => decoder.read(out),
                State::Plain(_) | State::Ended => return Ok(0),
                State::Between(_) => {
                    if let State::Between(raw) = std::mem::replace(&mut self.state, State::Ended) {
                        self.begin(compression, raw)?;
                    }
                    continue;
                }
            };
            match read {
                Ok(0) => self.leave(),
                Ok(n) => {
                    self.given += n as u64;
                    if self.given > self.most {
                        self.state = State::Ended;
                        return Err(damaged(format!(
                            "the {compression} stream unpacks to more than {} bytes, {EXPANSION} times its size; the file is damaged or hostile",
                            self.most
                        )));
                    }
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.explain(compression, error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};

    const TEXT: &[u8] = b"one line of invented text\nand another\n";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut writer = bzip2::write::BzEncoder::new(vec![], bzip2::Compression::default());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut writer = lzma_rust2::XzWriter::new(vec![], lzma_rust2::XzOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 3).unwrap()
    }

    type Pack = fn(&[u8]) -> Vec<u8>;
    const ALL: [(&str, Pack); 4] = [("gzip", gzip), ("bzip2", bzip2), ("xz", xz), ("zstd", zstd)];

    fn read(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let (mut out, size) = (vec![], bytes.len() as u64);
        Decoded::new(Cursor::new(bytes), Some(size))?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn problem(bytes: Vec<u8>) -> String {
        let error = read(bytes).unwrap_err();
        Damaged::of(&error).unwrap_or_else(|| panic!("{error}")).to_string()
    }

    #[test]
    fn each_compression_is_read_by_its_content_also_in_several_streams_and_padded() {
        for (name, pack) in ALL {
            let packed = pack(TEXT);
            assert_eq!(read(packed.clone()).unwrap(), TEXT, "{name}");
            let mut joined = [packed.clone(), pack(b""), packed.clone()].concat();
            assert_eq!(read(joined.clone()).unwrap(), TEXT.repeat(2), "{name}");
            joined.extend([0; 1000]);
            assert_eq!(read(joined.clone()).unwrap(), TEXT.repeat(2), "{name} padded");
            joined.extend(packed);
            assert_eq!(read(joined).unwrap(), TEXT.repeat(3), "{name} padded between streams");
        }
        assert_eq!(read(TEXT.to_vec()).unwrap(), TEXT);
        assert_eq!(read(vec![]).unwrap(), b"");
        // What a text says after its first bytes is text.
        assert_eq!(read([TEXT, &gzip(TEXT)].concat()).unwrap(), [TEXT, &gzip(TEXT)].concat());
    }

    #[test]
    fn what_is_cut_off_damaged_or_followed_by_something_else_says_so() {
        for (name, pack) in ALL {
            let packed = pack(&TEXT.repeat(100));
            for at in [packed.len() - 1, packed.len() / 2, 11] {
                let message = problem(packed[..at].to_vec());
                assert!(message.contains(&format!("the {name} stream is")), "{name} at {at}: {message}");
            }
            assert!(problem(packed[..packed.len() - 1].to_vec()).contains("is cut off; fetch"), "{name}");
            let message = problem([&packed[..], b"0 and more"].concat());
            assert!(message.contains(&format!("something else follows the end of the {name} stream")), "{message}");
            let message = problem([&packed[..], &[0; 10], b"more"].concat());
            assert!(message.contains("something else follows"), "{message}");
        }
    }

    #[test]
    fn a_stream_that_unpacks_to_far_too_much_is_refused() {
        let size = 100;
        let mut decoded = Decoded::new(Cursor::new(zstd(&[b' '; 100_000])), Some(size)).unwrap();
        decoded.most = 1000;
        let mut out = vec![];
        let error = decoded.read_to_end(&mut out).unwrap_err();
        assert!(error.to_string().contains("unpacks to more than 1000 bytes"), "{error}");
    }

    #[test]
    fn a_window_too_large_for_memory_is_refused() {
        let mut encoder = zstd::stream::Encoder::new(vec![], 1).unwrap();
        encoder.window_log(30).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(TEXT).unwrap();
        let message = problem(encoder.finish().unwrap());
        assert!(message.contains("MiB of memory to unpack"), "{message}");
    }
}
