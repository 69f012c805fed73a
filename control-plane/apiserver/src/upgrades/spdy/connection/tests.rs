//! A client of SPDY over a pipe in memory: what streams say reaches their takers, and what clients do wrong stays their own trouble.

use tokio::io::{DuplexStream, duplex};

use super::*;

/// A client that writes and reads frames one by one.
pub(crate) struct Client<S> {
    io: S,
    encoder: Encoder,
    decoder: Decoder,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(io: S) -> Self {
        Self {
            io,
            encoder: Encoder::default(),
            decoder: Decoder::new(),
        }
    }

    async fn write(&mut self, frame: Frame) {
        let mut bytes = BytesMut::new();
        self.encoder.write(&frame, &mut bytes);
        self.io.write_all(&bytes).await.unwrap();
        self.io.flush().await.unwrap();
    }

    /// The next frame; `None` is the end of the connection.
    async fn read(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            let reading = self.io.read_buf(self.decoder.buffer());
            let read = timeout(Duration::from_secs(20), reading).await.unwrap();
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn open(&mut self, id: u32, headers: &[(&str, &str)]) {
        let owned = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let headers = Headers(owned.collect());
        let fin = false;
        self.write(Frame::SynStream { id, headers, fin }).await;
        let reply = Frame::SynReply {
            id,
            headers: Headers::default(),
            fin,
        };
        assert_eq!(self.read().await, Some(reply));
    }

    pub(crate) async fn say(&mut self, id: u32, bytes: &'static [u8], fin: bool) {
        let bytes = Bytes::from_static(bytes);
        self.write(Frame::Data { id, bytes, fin }).await;
    }

    /// Reads what comes on all streams until as many as `ends` have ended.
    pub(crate) async fn hear(&mut self, ends: usize) -> HashMap<u32, Vec<u8>> {
        let (mut heard, mut ended) = (HashMap::<u32, Vec<u8>>::new(), 0);
        while ended < ends {
            match self.read().await {
                Some(Frame::Data { id, bytes, fin }) => {
                    heard.entry(id).or_default().extend_from_slice(&bytes);
                    ended += usize::from(fin);
                }
                other => panic!("{other:?} after {heard:?}"),
            }
        }
        heard
    }
}

type Served = tokio::task::JoinHandle<Result<(), SpdyError>>;

fn start() -> (Client<DuplexStream>, mpsc::Receiver<Stream>, Served) {
    let (client, server) = duplex(1 << 20);
    let (opened, streams) = mpsc::channel(OPENING);
    (
        Client::new(client),
        streams,
        tokio::spawn(serve(server, opened)),
    )
}

#[tokio::test]
async fn streams_carry_both_ways_and_close_apart() {
    let (mut client, mut streams, served) = start();
    client.open(1, &[("streamtype", "error")]).await;
    client.open(3, &[("streamtype", "data")]).await;
    client.say(1, b"", true).await;
    client.say(3, b"hello ", false).await;
    client.say(3, b"pod", true).await;
    let mut error = streams.recv().await.unwrap();
    let mut data = streams.recv().await.unwrap();
    assert_eq!(data.headers.get("streamtype"), Some("data"));
    assert_eq!(error.incoming.recv().await, None);
    let mut said = Vec::new();
    while let Some(Incoming::Data(bytes)) = data.incoming.recv().await {
        said.extend_from_slice(&bytes);
    }
    assert_eq!(said, b"hello pod");
    data.outgoing
        .send(Bytes::from_static(b"hello kubectl"))
        .await
        .unwrap();
    data.outgoing.finish().await.unwrap();
    assert_eq!(client.hear(1).await[&3], b"hello kubectl");
    client.write(Frame::Ping { id: 7 }).await;
    assert_eq!(client.read().await, Some(Frame::Ping { id: 7 }));
    drop(client);
    drop((error, data));
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_given_up_by_its_client_is_told_so() {
    let (mut client, mut streams, _served) = start();
    client.open(1, &[]).await;
    client
        .write(Frame::Reset {
            id: 1,
            status: CANCEL,
        })
        .await;
    let mut stream = streams.recv().await.unwrap();
    assert_eq!(stream.incoming.recv().await, Some(Incoming::Reset));
    assert_eq!(stream.incoming.recv().await, None);
}

#[tokio::test]
async fn numbers_that_are_none_and_too_many_streams_are_refused() {
    let (mut client, mut streams, _served) = start();
    let syn = |id| Frame::SynStream {
        id,
        headers: Headers::default(),
        fin: false,
    };
    client.write(syn(2)).await;
    assert_eq!(
        client.read().await,
        Some(Frame::Reset {
            id: 2,
            status: PROTOCOL_ERROR
        })
    );
    let taking = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Some(stream) = streams.recv().await {
            kept.push(stream);
        }
    });
    for n in 0..STREAMS {
        client.open(u32::try_from(n * 2 + 1).unwrap(), &[]).await;
    }
    let next = u32::try_from(STREAMS * 2 + 1).unwrap();
    client.write(syn(next)).await;
    assert_eq!(
        client.read().await,
        Some(Frame::Reset {
            id: next,
            status: REFUSED_STREAM
        })
    );
    // The same number again is wrong, refused before or not.
    client.write(syn(next)).await;
    assert_eq!(
        client.read().await,
        Some(Frame::Reset {
            id: next,
            status: PROTOCOL_ERROR
        })
    );
    // One that ends makes room.
    client.say(1, b"", true).await;
    client.open(next + 2, &[]).await;
    drop(client);
    taking.await.unwrap();
}

#[tokio::test]
async fn what_nobody_takes_does_not_end_the_connection() {
    let (mut client, mut streams, _served) = start();
    client.open(1, &[]).await;
    drop(streams.recv().await.unwrap());
    client.say(1, b"lost", false).await;
    client.say(99, b"of no stream", false).await;
    client.open(3, &[]).await;
    client.say(3, b"heard", true).await;
    let mut stream = streams.recv().await.unwrap();
    let heard = Incoming::Data(Bytes::from_static(b"heard"));
    assert_eq!(stream.incoming.recv().await, Some(heard));
}

#[tokio::test]
async fn last_words_reach_the_client_before_the_connection_ends() {
    let (mut client, mut streams, served) = start();
    client.open(1, &[]).await;
    let stream = streams.recv().await.unwrap();
    stream
        .outgoing
        .send(Bytes::from_static(b"bye"))
        .await
        .unwrap();
    stream.outgoing.finish().await.unwrap();
    drop((stream, streams));
    assert_eq!(client.hear(1).await[&1], b"bye");
    assert_eq!(client.read().await, None);
    drop(client);
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_speaks_something_else_is_cut_off() {
    let (mut client, _streams, served) = start();
    client
        .io
        .write_all(b"\xff\xff GET / HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    assert!(matches!(served.await.unwrap(), Err(SpdyError::Frame(_))));
}
