//! Bodies of requests: read under a cap, within a time, and within the room that all requests
//! in flight share.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Answer;
use crate::pipeline::Refusal;

/// The bytes before each gRPC message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// A message shorter than this is copied, so that a queue that holds it does not hold the
/// connection's whole read buffer.
const SHORT: usize = 16 << 10;

/// How long the rest of a refused body is read past.
const PAST: Duration = Duration::from_secs(5);

/// How bodies are read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// The longest body, on the wire and inflated, bytes.
    pub(super) cap: usize,
    /// How long a body may take to arrive.
    pub(super) timeout: Duration,
    room: Arc<Semaphore>,
}

/// Room for the bytes of a request in flight, given back when it is answered.
#[derive(Debug, Default)]
pub(super) struct Held(Option<OwnedSemaphorePermit>);

/// A gRPC message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) bytes: Bytes,
    pub(super) compressed: bool,
}

impl Reading {
    /// Bodies of at most `cap` bytes, all in flight together at most `in_flight` bytes.
    pub(super) fn new(cap: usize, in_flight: usize, timeout: Duration) -> Self {
        Self {
            cap,
            timeout,
            room: Arc::new(Semaphore::new(in_flight.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Takes room for so many bytes more.
    pub(super) fn hold(&self, held: &mut Held, bytes: usize) -> Result<(), Answer> {
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        let more = self.room.clone().try_acquire_many_owned(count);
        let more = more.map_err(|_| Refusal::Full {
            what: "the memory for requests in flight".to_owned(),
            retry_after: Duration::from_secs(1),
        })?;
        match &mut held.0 {
            Some(held) => held.merge(more),
            None => held.0 = Some(more),
        }
        Ok(())
    }

    /// The whole body, as HTTP has it.
    pub(super) async fn whole<B>(&self, body: &mut B, held: &mut Held) -> Result<Bytes, Answer>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let declared = body.size_hint().upper().map(usize::try_from);
        if declared.is_some_and(|length| length.is_ok_and(|length| length > self.cap)) {
            return Err(Answer::too_large(self.cap));
        }
        self.in_time(self.read_whole(body, held)).await
    }

    /// The one message of a unary gRPC call.
    pub(super) async fn message<B>(&self, body: B, held: &mut Held) -> Result<Message, Answer>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        self.in_time(self.read_message(body, held)).await
    }

    async fn in_time<T>(&self, read: impl Future<Output = Result<T, Answer>>) -> Result<T, Answer> {
        let read = tokio::time::timeout(self.timeout, read).await;
        read.unwrap_or_else(|_| Err(Answer::slow(self.timeout)))
    }

    async fn read_whole<B>(&self, body: &mut B, held: &mut Held) -> Result<Bytes, Answer>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0);
        let Some(first) = data(body).await? else {
            return Ok(Bytes::new());
        };
        self.hold(held, first.len())?;
        if first.len() > self.cap {
            return Err(Answer::too_large(self.cap));
        }
        if body.is_end_stream() {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(expected.min(self.cap).max(first.len()));
        whole.extend_from_slice(&first);
        while let Some(more) = data(body).await? {
            if whole.len() + more.len() > self.cap {
                return Err(Answer::too_large(self.cap));
            }
            self.hold(held, more.len())?;
            whole.extend_from_slice(&more);
        }
        Ok(whole.freeze())
    }

    async fn read_message<B>(&self, mut body: B, held: &mut Held) -> Result<Message, Answer>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let broken = || Answer::malformed("the stream ends within its message");
        let mut start = Bytes::new();
        while start.len() < PREFIX {
            let more = data(&mut body).await?.ok_or_else(broken)?;
            start = match start.len() {
                0 => more,
                _ => [start, more].concat().into(),
            };
        }
        let prefix = start.split_to(PREFIX);
        let compressed = match prefix[0] {
            0 => false,
            1 => true,
            _ => return Err(Answer::malformed("an unknown compression flag")),
        };
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if length > self.cap {
            return Err(Answer::too_large(self.cap));
        }
        self.hold(held, length)?;
        let bytes = if start.len() >= length.max(SHORT) {
            start
        } else {
            let mut whole = BytesMut::with_capacity(length.max(start.len()));
            whole.extend_from_slice(&start);
            while whole.len() < length {
                let more = data(&mut body).await?.ok_or_else(broken)?;
                if whole.len() + more.len() > length {
                    return Err(more_than_one());
                }
                whole.extend_from_slice(&more);
            }
            whole.freeze()
        };
        if bytes.len() > length {
            return Err(more_than_one());
        }
        while let Some(more) = data(&mut body).await? {
            if !more.is_empty() {
                return Err(more_than_one());
            }
        }
        Ok(Message { bytes, compressed })
    }
}

/// Reads past what is left of a refused request, beside its answer, for a few seconds.
///
/// A connection that is closed before its peer has sent everything is reset, and a peer that
/// still writes then may never see the answer (RFC 9112, 9.6).
pub(super) fn read_past<B>(mut body: B)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    if !body.is_end_stream() {
        let rest = async move { while let Ok(Some(_)) = data(&mut body).await {} };
        tokio::spawn(tokio::time::timeout(PAST, rest));
    }
}

fn more_than_one() -> Answer {
    Answer::malformed("a unary call holds more than its one message")
}

/// The next bytes of a body; trailers are passed over.
async fn data<B>(body: &mut B) -> Result<Option<Bytes>, Answer>
where
    B: Body<Data = Bytes> + Unpin,
{
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Answer::malformed("the body broke off"))?;
        if let Ok(bytes) = frame.into_data() {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body::Frame;

    use super::*;

    /// A body that arrives in these pieces, and then ends or never does.
    struct Pieces(VecDeque<Bytes>, bool);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            match self.0.pop_front() {
                Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
                None if self.1 => Poll::Ready(None),
                None => Poll::Pending,
            }
        }
    }

    fn pieces(bytes: &[u8], size: usize, ends: bool) -> Pieces {
        Pieces(
            bytes.chunks(size).map(Bytes::copy_from_slice).collect(),
            ends,
        )
    }

    fn reading(in_flight: usize) -> Reading {
        Reading::new(100_000, in_flight, Duration::from_millis(5))
    }

    /// The message of a stream, however it is cut into frames.
    async fn check(stream: &[u8], ends: bool, expected: &str) {
        for size in [1, 4, 5, 6, 1000, usize::MAX] {
            let reading = reading(200_000);
            let mut held = Held::default();
            let message = reading.message(pieces(stream, size, ends), &mut held).await;
            let shown = match &message {
                Ok(message) => format!("{} bytes, {}", message.bytes.len(), message.compressed),
                Err(answer) => answer.message.clone(),
            };
            assert_eq!(shown, expected, "in frames of {size}");
            drop(held);
            assert_eq!(reading.room.available_permits(), 200_000);
        }
    }

    fn framed(flag: u8, length: u32, bytes: &[u8]) -> Vec<u8> {
        [&[flag], length.to_be_bytes().as_slice(), bytes].concat()
    }

    #[tokio::test]
    async fn a_message_is_the_same_in_whatever_frames_it_comes() {
        check(&framed(0, 3, b"abc"), true, "3 bytes, false").await;
        check(&framed(1, 0, b""), true, "0 bytes, true").await;
        check(&framed(0, 50_000, &[7; 50_000]), true, "50000 bytes, false").await;
    }

    #[tokio::test]
    async fn a_length_that_lies_is_told_so_and_takes_no_room_beyond_the_cap() {
        let broken = "the stream ends within its message";
        check(&framed(0, 4, b"abc"), true, broken).await;
        check(b"\0\0", true, broken).await;
        check(b"", true, broken).await;
        let twice = "a unary call holds more than its one message";
        check(&framed(0, 2, b"abc"), true, twice).await;
        check(&framed(0, 20_000, &[7; 20_001]), true, twice).await;
        let long = "the request is longer than 100000 bytes";
        check(&framed(0, u32::MAX, b"abc"), true, long).await;
        check(&framed(9, 3, b"abc"), true, "an unknown compression flag").await;
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let slow = "the request did not arrive within 5ms";
        check(&framed(0, 4, b"abc"), false, slow).await;
        let mut held = Held::default();
        let whole = reading(100)
            .whole(&mut pieces(b"abc", 1, false), &mut held)
            .await;
        assert_eq!(whole.unwrap_err().message, slow);
    }

    #[tokio::test]
    async fn requests_in_flight_share_their_room() {
        let reading = reading(10);
        let (mut first, mut second) = (Held::default(), Held::default());
        let whole = reading
            .whole(&mut pieces(b"1234567", 2, true), &mut first)
            .await;
        assert_eq!(whole.unwrap(), "1234567");
        let full = reading
            .whole(&mut pieces(b"1234567", 2, true), &mut second)
            .await;
        assert!(full.unwrap_err().retry_after.is_some());
        drop((first, second));
        let mut third = Held::default();
        let whole = reading
            .whole(&mut pieces(b"1234567", 9, true), &mut third)
            .await;
        assert_eq!(whole.unwrap(), "1234567");
    }
}
