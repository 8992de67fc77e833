//! HTTP/2 frames that cost the server time and ask for nothing: so many, and no more.
//!
//! The library below limits resets, header lists, streams and headers in pieces; it answers or books every PING, SETTINGS, WINDOW_UPDATE and
//! PRIORITY without end. Here the frames of a connection are counted as they come in. What a client sends with reason goes with what it
//! is sent, mostly: an update of its window for the bytes of an answer.

use std::io;
use tokio::time::Instant;

const PREFACE: usize = 24;
const HEADER: usize = 9;
/// Frames that a connection may send at once, and how many more a second.
const BURST: u64 = 2_000;
const A_SECOND: u64 = 200;
/// Bytes that it was sent which are worth a frame. Windows are updated in tens of thousands.
const BYTES_A_FRAME: u64 = 4 << 10;

const DATA: u8 = 0;
const HEADERS: u8 = 1;

pub(super) struct Frames {
    /// Bytes until the next frame's header: first the preface, then payloads.
    skip: usize,
    header: [u8; HEADER],
    held: usize,
    left: u64,
    filled: Instant,
    /// Not yet worth a frame.
    written: u64,
}

impl Frames {
    pub fn new(now: Instant) -> Self {
        Self { skip: PREFACE, header: [0; HEADER], held: 0, left: BURST, filled: now, written: 0 }
    }

    /// What was sent to the other side.
    pub fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
        self.left = (self.left + self.written / BYTES_A_FRAME).min(BURST);
        self.written %= BYTES_A_FRAME;
    }

    /// What came in; fails when there were too many frames without a purpose.
    pub fn read(&mut self, mut bytes: &[u8], now: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            (self.skip, bytes) = (self.skip - skipped, &bytes[skipped..]);
            let taken = (HEADER - self.held).min(bytes.len());
            self.header[self.held..self.held + taken].copy_from_slice(&bytes[..taken]);
            (self.held, bytes) = (self.held + taken, &bytes[taken..]);
            if self.held == HEADER {
                self.held = 0;
                let [a, b, c, kind, flags, ..] = self.header;
                self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                if !purposeful(kind, flags, self.skip) {
                    self.spend(now)?;
                }
            }
        }
        Ok(())
    }

    fn spend(&mut self, now: Instant) -> io::Result<()> {
        if self.left == 0 {
            let seconds = now.saturating_duration_since(self.filled).as_millis() as u64 * A_SECOND / 1000;
            if seconds == 0 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "too many HTTP/2 frames that ask for nothing"));
            }
            (self.left, self.filled) = (seconds.min(BURST), now);
        }
        self.left -= 1;
        Ok(())
    }
}

/// A request's head, and bytes or the end of its body. How many requests there may be at once is limited elsewhere.
fn purposeful(kind: u8, flags: u8, length: usize) -> bool {
    const END_STREAM: u8 = 1;
    match kind {
        HEADERS => true,
        DATA => length > 0 || flags & END_STREAM != 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, 0, 0, 0, 0, 0]);
        frame.extend(payload);
        frame
    }

    fn begun(now: Instant) -> Frames {
        let mut frames = Frames::new(now);
        frames.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", now).unwrap();
        frames
    }

    /// How many of these a connection may send in one moment.
    fn taken(frames: &mut Frames, bytes: &[u8], now: Instant) -> u64 {
        (0..).find(|_| frames.read(bytes, now).is_err()).unwrap()
    }

    #[test]
    fn frames_without_a_purpose_are_counted_however_they_are_cut_into_pieces() {
        let now = Instant::now();
        for (kind, payload) in [(8, &[0, 0, 0, 1][..]), (2, &[0; 5]), (6, &[7; 8]), (4, &[]), (3, &[0; 4]), (0, &[]), (9, &[1])] {
            assert_eq!(taken(&mut begun(now), &frame(kind, payload), now), BURST, "kind {kind}");
        }
        let mut frames = begun(now);
        let two = [frame(6, &[8; 8]), frame(0, &[0; 40])].concat();
        for _ in 0..BURST {
            two.iter().for_each(|byte| frames.read(&[*byte], now).unwrap());
        }
        assert!(frames.read(&two, now).is_err(), "lost count when the bytes came one at a time");
    }

    /// A connection that has sent all that it may in one moment.
    fn spent(now: Instant) -> Frames {
        let mut frames = begun(now);
        frames.read(&ping().repeat(BURST as usize), now).unwrap();
        frames
    }

    fn ping() -> Vec<u8> {
        frame(6, &[0; 8])
    }

    #[test]
    fn time_and_answers_are_worth_frames_and_requests_cost_none() {
        let now = Instant::now();
        assert_eq!(taken(&mut spent(now), &ping(), now), 0);
        assert_eq!(taken(&mut spent(now), &ping(), now + Duration::from_secs(1)), A_SECOND);
        let mut answered = spent(now);
        answered.wrote(10 * BYTES_A_FRAME as usize);
        assert_eq!(taken(&mut answered, &ping(), now), 10);
        let mut asks = spent(now);
        asks.read(&frame(HEADERS, &[0; 200]).repeat(5_000), now).unwrap();
        asks.read(&frame(DATA, &[0; 200]).repeat(5_000), now).unwrap();
    }
}
