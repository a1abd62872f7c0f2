//! The thread that answers scrapers. It has a runtime of its own, so that whatever is done to its socket keeps
//! nobody from reading the ring buffer; from the thread that does, it asks a copy of the numbers, at most ten
//! times a second. Whether that thread answers is what `/healthz` tells.

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc, oneshot},
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use crate::{kernel::privilege, panics};

use super::{
    page::page,
    process,
    request::{self, HEAD_MAX_BYTES, Request, Wish, Wrong},
    snapshot::Snapshot,
    text::Format,
};

/// Connections at a time. One more closes the oldest, so that idle ones keep nobody out.
const CONNECTIONS_MAX: usize = 64;

/// For a whole request to come.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// For a response to be taken.
const RESPONSE_LIMIT: Duration = Duration::from_secs(10);
/// What a client still sends is read for so long, and so much of it: closing with it unread would take the
/// response from it.
const REST_LIMIT: Duration = Duration::from_secs(1);
const REST_MAX_BYTES: u64 = 4 << 20;

/// For the ring buffer's reader to answer; a round of it takes some 20 ms.
const ASK_LIMIT: Duration = Duration::from_secs(1);
/// Numbers are so old at most.
const FRESH: Duration = Duration::from_millis(100);

/// When no connection can be accepted (no more descriptors), until the next try.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Wants a copy of the numbers.
pub type Ask = oneshot::Sender<Snapshot>;

/// Takes the address, before anything is attached.
pub fn listen(addr: SocketAddr) -> Result<StdListener> {
    let listener = StdListener::bind(addr).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.with_context(|| {
        format!(
            "cannot listen for scrapers on {addr}: choose another address with --metrics-listen"
        )
    })
}

/// Answers from now on, until nobody takes what it asks.
pub fn start(listener: StdListener) -> Result<mpsc::Receiver<Ask>> {
    let (asks, asked) = mpsc::channel(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop of the metrics")?;
    thread::Builder::new()
        .name("tracer-metrics".into())
        .spawn(move || {
            let _watched = panics::watch();
            privilege::give_up();
            if let Err(error) = runtime.block_on(serve(listener, asks)) {
                tracing::error!("metrics are served no more: {error:#}");
            }
        })
        .context("cannot start the thread of the metrics")?;
    Ok(asked)
}

async fn serve(listener: StdListener, asks: mpsc::Sender<Ask>) -> Result<()> {
    let listener = TcpListener::from_std(listener).context("cannot wait for connections")?;
    let numbers = Arc::new(Numbers::new(asks.clone()));
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = asks.closed() => return Ok(()),
        };
        match accepted {
            Ok((stream, _)) => {
                open.retain(|connection| !connection.is_finished());
                if open.len() >= CONNECTIONS_MAX
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                }
                let connection = tokio::spawn(converse(stream, Arc::clone(&numbers)));
                open.push_back(connection.abort_handle());
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a scraper's connection");
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// One request, one response. What fails here is the client's loss alone.
async fn converse(mut stream: TcpStream, numbers: Arc<Numbers>) {
    let request = match timeout(REQUEST_LIMIT, read(&mut stream)).await {
        Ok(Ok(Some(request))) => request,
        Ok(_) => return,
        Err(_) => Request {
            wish: Err(Wrong::TooSlow),
            head_only: false,
        },
    };
    let response = numbers.response(request.wish).await;
    let written = timeout(RESPONSE_LIMIT, async {
        let Response {
            status,
            content_type,
            body,
        } = &response;
        let head = request::response_head(status, content_type, body.len());
        stream.write_all(head.as_bytes()).await?;
        if !request.head_only {
            stream.write_all(body.as_bytes()).await?;
        }
        stream.shutdown().await
    });
    if matches!(written.await, Ok(Ok(()))) {
        let mut rest = stream.take(REST_MAX_BYTES);
        let _ = timeout(
            REST_LIMIT,
            tokio::io::copy(&mut rest, &mut tokio::io::sink()),
        )
        .await;
    }
}

/// `None`: the client went away.
async fn read(stream: &mut TcpStream) -> io::Result<Option<Request>> {
    let mut head = Vec::with_capacity(1 << 10);
    loop {
        let room = (HEAD_MAX_BYTES - head.len()) as u64;
        if stream.take(room).read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
        if let Some(request) = request::read(&head) {
            return Ok(Some(request));
        }
    }
}

struct Response {
    status: &'static str,
    content_type: &'static str,
    body: Arc<str>,
}

impl Response {
    fn plain(status: &'static str, text: &str) -> Self {
        Response {
            status,
            content_type: "text/plain; charset=utf-8",
            body: text.into(),
        }
    }
}

/// The reader of the ring buffer did not answer.
struct Silent;

/// The numbers and the pages made of them, as long as they are fresh.
struct Numbers {
    asks: mpsc::Sender<Ask>,
    last: Mutex<Option<Last>>,
}

struct Last {
    at: Instant,
    snapshot: Option<Snapshot>,
    pages: Vec<(Format, Arc<str>)>,
}

impl Numbers {
    fn new(asks: mpsc::Sender<Ask>) -> Self {
        Numbers {
            asks,
            last: Mutex::new(None),
        }
    }

    async fn response(&self, wish: Result<Wish, Wrong>) -> Response {
        let done = match wish {
            Ok(Wish::Metrics(format)) => self.page(format).await.map(|body| Response {
                status: "200 OK",
                content_type: format.content_type(),
                body,
            }),
            Ok(Wish::Health) => self.health().await,
            Err(wrong) => return Response::plain(wrong.status(), wrong.text()),
        };
        done.unwrap_or_else(|Silent| {
            Response::plain(
                "503 Service Unavailable",
                "The ring buffer is not being read.\n",
            )
        })
    }

    async fn page(&self, format: Format) -> Result<Arc<str>, Silent> {
        self.with_last(|last| {
            let snapshot = last.snapshot.as_ref().ok_or(Silent)?;
            if let Some((_, made)) = last.pages.iter().find(|(known, _)| *known == format) {
                return Ok(Arc::clone(made));
            }
            let made: Arc<str> = page(format, snapshot, process::read().as_ref()).into();
            last.pages.push((format, Arc::clone(&made)));
            Ok(made)
        })
        .await
    }

    async fn health(&self) -> Result<Response, Silent> {
        self.with_last(|last| {
            let snapshot = last.snapshot.as_ref().ok_or(Silent)?;
            let attached = snapshot.about.probes.iter().any(|probe| probe.attached);
            Ok(match attached {
                true => Response::plain("200 OK", "ok\n"),
                false => Response::plain("503 Service Unavailable", "No hook is attached.\n"),
            })
        })
        .await
    }

    async fn with_last<T>(&self, answer: impl FnOnce(&mut Last) -> T) -> T {
        let mut guard = self.last.lock().await;
        match &mut *guard {
            Some(last) if last.at.elapsed() < FRESH => answer(last),
            stale => answer(stale.insert(Last {
                snapshot: self.ask().await,
                at: Instant::now(),
                pages: Vec::new(),
            })),
        }
    }

    async fn ask(&self) -> Option<Snapshot> {
        let (ask, answer) = oneshot::channel();
        let answered = timeout(ASK_LIMIT, async {
            self.asks.send(ask).await.ok()?;
            answer.await.ok()
        });
        answered.await.ok()?
    }
}

#[cfg(test)]
mod tests;
