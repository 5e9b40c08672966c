use super::super::body::{BodyLength, WrittenAs};
use super::*;
use crate::wire::stream::{Plain, Stream};
use std::future::poll_fn;
use std::task::Poll;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const IDLE: Duration = Duration::from_millis(50);

/// A connection: our end and the other side's.
async fn connection() -> (Socket, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (Socket::new(Stream::Plain(Plain::Tcp(ours.unwrap()))), theirs.unwrap().0)
}

fn body(length: u64) -> Transfer {
    Transfer::new(BodyLength::Exactly(length), WrittenAs::Plain, |_| false)
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

/// Between two connections of which the test holds the far ends.
struct Between {
    pipes: KernelPipes,
    from: Socket,
    source: TcpStream,
    to: Socket,
    sink: TcpStream,
    buffer: Buffer,
    pool: BufferPool,
}

impl Between {
    async fn new() -> Between {
        let ((from, source), (to, sink)) = (connection().await, connection().await);
        Between {
            pipes: KernelPipes::default(),
            from,
            source,
            to,
            sink,
            buffer: Buffer::default(),
            pool: BufferPool::default(),
        }
    }

    async fn pass(&mut self, body: &mut Transfer) -> Result<Spliced, WriteFault> {
        let conduit = Conduit { pipes: &self.pipes, from: &self.from, to: &self.to, idle: IDLE };
        conduit.pass(body, &mut self.buffer, &self.pool, || ()).await
    }

    /// From now on its source writes for ever; until the task is aborted.
    async fn source_never_ends(&mut self) -> JoinHandle<()> {
        let (from, mut source) = connection().await;
        self.from = from;
        tokio::spawn(async move { while source.write_all(&[b'a'; 65_536]).await.is_ok() {} })
    }

    /// Until it has passed, or cannot.
    async fn pass_all(&mut self, body: &mut Transfer) -> Result<Spliced, WriteFault> {
        loop {
            match self.pass(body).await? {
                Spliced::Rests => self.from.readable().await.unwrap(),
                ended => return Ok(ended),
            }
        }
    }
}

#[tokio::test]
async fn a_body_passes_whole_and_what_follows_it_stays_in_its_socket() {
    let mut between = Between::new().await;
    let sent = text(100_000);
    between.source.write_all(&sent).await.unwrap();
    between.source.write_all(b"the next").await.unwrap();
    let mut body = body(100_000);
    assert_eq!(between.pass_all(&mut body).await.unwrap(), Spliced::Whole);
    assert!(body.is_done());
    let mut got = vec![0; 100_000];
    between.sink.read_exact(&mut got).await.unwrap();
    assert!(got == sent);
    let Between { from, buffer, pool, .. } = &mut between;
    from.read(buffer, pool, 1000).await.unwrap();
    assert_eq!(buffer.filled(), b"the next");
}

#[tokio::test]
async fn an_end_in_the_middle_is_told_and_what_came_has_passed() {
    let mut between = Between::new().await;
    between.source.write_all(&text(20_000)).await.unwrap();
    between.source.shutdown().await.unwrap();
    let mut body = body(100_000);
    assert_eq!(between.pass_all(&mut body).await.unwrap(), Spliced::Broken);
    assert_eq!(body.unseen(), 80_000);
    let mut got = vec![0; 20_000];
    between.sink.read_exact(&mut got).await.unwrap();
    assert!(got == text(20_000));
}

#[tokio::test]
async fn while_nothing_comes_no_memory_and_no_pipe_is_held() {
    let mut between = Between::new().await;
    between.buffer.enlarge(&between.pool);
    assert_eq!(between.pass(&mut body(100_000)).await.unwrap(), Spliced::Rests);
    assert!(!between.buffer.has_memory());
    assert_eq!(between.pipes.lent.get(), 0);
}

#[tokio::test]
async fn small_rests_chunks_and_what_has_bytes_in_the_buffer_are_copied() {
    let mut between = Between::new().await;
    assert_eq!(between.pass(&mut body(WORTH_IT - 1)).await.unwrap(), Spliced::Copy);
    for (length, written_as) in [
        (BodyLength::Chunked, WrittenAs::Chunked),
        (BodyLength::UntilEnd, WrittenAs::Plain),
        (BodyLength::Exactly(100_000), WrittenAs::Chunked),
    ] {
        let mut body = Transfer::new(length, written_as, |_| false);
        assert_eq!(between.pass(&mut body).await.unwrap(), Spliced::Copy, "{length:?}");
    }
    between.buffer.room(&between.pool, 10)[0] = b'x';
    between.buffer.read(1);
    assert_eq!(between.pass(&mut body(100_000)).await.unwrap(), Spliced::Copy);
    assert_eq!(between.buffer.filled(), b"x");
}

#[tokio::test]
async fn a_pipe_that_holds_bytes_of_a_broken_transfer_is_never_used_again() {
    let mut between = Between::new().await;
    // A reader that takes nothing: the queues of both sides fill, and then a pipe.
    let endless = between.source_never_ends().await;
    let filled = between.pass_all(&mut body(u64::MAX)).await;
    endless.abort();
    assert!(matches!(filled, Err(WriteFault::Idle)), "{filled:?}");
    assert_eq!((between.pipes.lent.get(), between.pipes.idle.borrow().len()), (0, 0));
    let ((from, mut source), (to, mut sink)) = (connection().await, connection().await);
    (between.from, between.to) = (from, to);
    source.write_all(&text(20_000)).await.unwrap();
    assert_eq!(between.pass_all(&mut body(20_000)).await.unwrap(), Spliced::Whole);
    let mut got = vec![0; 20_000];
    sink.read_exact(&mut got).await.unwrap();
    assert!(got == text(20_000));
    assert_eq!(between.pipes.idle.borrow().len(), 1, "an empty one is kept");
}

#[tokio::test]
async fn where_all_pipes_are_in_use_and_where_the_system_refuses_nothing_is_taken() {
    let mut between = Between::new().await;
    between.source.write_all(&text(20_000)).await.unwrap();
    between.from.readable().await.unwrap();
    between.pipes.lent.set(LENT);
    assert_eq!(between.pass(&mut body(20_000)).await.unwrap(), Spliced::Copy);
    between.pipes.lent.set(0);
    assert_eq!(between.pipes.without_bytes(&refusal()), Spliced::Copy);
    assert_eq!(between.pass(&mut body(20_000)).await.unwrap(), Spliced::Copy, "it is not asked again");
    let Between { from, buffer, pool, .. } = &mut between;
    while buffer.filled().len() < 20_000 {
        assert!(from.read(buffer, pool, 65_536).await.unwrap() > 0);
    }
    assert!(buffer.filled() == text(20_000));
}

#[tokio::test]
async fn what_a_refusal_finds_in_a_pipe_is_read_out() {
    let mut between = Between::new().await;
    between.source.write_all(&text(20_000)).await.unwrap();
    between.from.readable().await.unwrap();
    let mut transit = between.pipes.lend().unwrap();
    let count = between.from.read_with(|socket| transit.fill(socket, 20_000)).unwrap();
    assert!(transit.read_out().unwrap() == text(count));
    drop(transit);
    assert_eq!((between.pipes.lent.get(), between.pipes.idle.borrow().len()), (0, 1));
}

#[tokio::test]
async fn what_is_given_up_in_the_middle_gives_its_pipe_back_and_not_its_bytes() {
    let mut between = Between::new().await;
    let endless = between.source_never_ends().await;
    let Between { pipes, from, to, sink: _sink, buffer, pool, .. } = &mut between;
    let conduit = Conduit { pipes, from, to, idle: Duration::from_secs(60) };
    let mut body = body(u64::MAX);
    // Nobody reads: it comes to wait with bytes in a pipe, as one does whose exchange ends early.
    let waits = async {
        while pipes.lent.get() == 0 {
            tokio::task::yield_now().await;
        }
    };
    let passes = async {
        while let Spliced::Rests = conduit.pass(&mut body, buffer, pool, || ()).await.unwrap() {
            from.readable().await.unwrap();
        }
    };
    tokio::select! {
        () = passes => panic!("it cannot end"),
        () = waits => {}
    }
    endless.abort();
    assert_eq!((pipes.lent.get(), pipes.idle.borrow().len()), (0, 0));
}

#[tokio::test]
async fn others_have_their_turn_beside_a_body_that_need_not_rest() {
    let mut between = Between::new().await;
    // All of it is there, and the queue to the reader takes it.
    let length = A_TURN + A_TURN / 2;
    let all = vec![b'a'; length];
    let taken = tokio::time::timeout(Duration::from_secs(30), between.source.write_all(&all)).await;
    taken.expect("the kernel's queues take it").unwrap();
    between.from.readable().await.unwrap();
    let mut body = body(length as u64);
    let polled = {
        let mut passing = std::pin::pin!(between.pass(&mut body));
        poll_fn(|cx| Poll::Ready(passing.as_mut().poll(cx).is_pending())).await
    };
    assert!(polled, "all of it was moved at once");
    assert_eq!(between.pass_all(&mut body).await.unwrap(), Spliced::Whole);
}

#[tokio::test]
async fn a_connection_that_is_not_the_kernels_is_copied() {
    let (one, _other) = crate::wire::pipe::pipe(100_000);
    let between = Between::new().await;
    let stream = Socket::new(Stream::Pipe(one));
    for (from, to) in [(&between.from, &stream), (&stream, &between.to)] {
        let conduit = Conduit { pipes: &between.pipes, from, to, idle: IDLE };
        let (mut buffer, pool) = (Buffer::default(), BufferPool::default());
        assert_eq!(conduit.pass(&mut body(100_000), &mut buffer, &pool, || ()).await.unwrap(), Spliced::Copy);
    }
}

#[tokio::test]
async fn only_what_the_connection_itself_says_breaks_a_body() {
    let pipes = KernelPipes::default();
    assert_eq!(pipes.without_bytes(&io::ErrorKind::ConnectionReset.into()), Spliced::Broken);
    assert_eq!(pipes.without_bytes(&io::ErrorKind::WouldBlock.into()), Spliced::Rests);
    assert_eq!(pipes.without_bytes(&io::ErrorKind::OutOfMemory.into()), Spliced::Copy);
    assert!(!pipes.refused.get(), "a shortage passes");
}

fn refusal() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::PERM.raw_os_error())
}
