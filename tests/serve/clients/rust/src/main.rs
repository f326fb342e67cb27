//! A client of Check with tonic; see ../../README.md for what it does and prints.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

const WORKERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(5); // of a worker, between calls
const METHOD: PathAndQuery = PathAndQuery::from_static("/envoy.service.auth.v3.Authorization/Check");
const PERMISSION_DENIED: u8 = 7;

/// Messages as the bytes that they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}

#[derive(Default)]
struct Report {
    calls: usize,
    wrong: usize,
    failed: Vec<String>,
    cancelled: usize,
    expired: usize,
    compressed: usize,
    again: usize,
}

impl Report {
    /// Note an answer; None: the call was dropped before one came.
    fn note(&mut self, number: usize, answer: Option<Result<Bytes, Status>>) {
        self.calls += 1;
        let expected = [0, PERMISSION_DENIED][number % 2];
        match answer {
            None => self.cancelled += 1,
            Some(Err(error)) if number % 23 == 0 && is_late(&error) => self.expired += 1,
            Some(Err(error)) => self.failed.push(error.to_string()),
            Some(Ok(answer)) if code_of(&answer) != expected => self.wrong += 1,
            Some(Ok(_)) if number % 11 == 0 => self.compressed += 1,
            Some(Ok(_)) => {}
        }
        if self.calls % 200 == 0 {
            println!("calls {}", self.calls);
        }
    }

    fn print(&self) {
        let failed: Vec<String> = self.failed.iter().map(|text| format!("{text:?}")).collect();
        println!(
            "{{\"calls\": {}, \"wrong\": {}, \"failed\": [{}], \"cancelled\": {}, \"expired\": {}, \"compressed\": {}, \"again\": {}}}",
            self.calls, self.wrong, failed.join(", "), self.cancelled, self.expired, self.compressed, self.again
        );
    }
}

/// A deadline that passes here is told as CANCELLED by tonic, one that the server saw pass as DEADLINE_EXCEEDED.
fn is_late(error: &Status) -> bool {
    matches!(error.code(), Code::Cancelled | Code::DeadlineExceeded)
}

/// The code of the status in a CheckResponse: field 1 of its field 1; nothing stands for 0.
fn code_of(answer: &[u8]) -> u8 {
    match answer {
        [0x0a, length, 0x08, code, ..] if *length >= 2 => *code,
        _ => 0,
    }
}

/// Whether hyper gave a call back that it had not sent yet when its connection ended, as after a GOAWAY. Other libraries
/// ask again by themselves then, which is safe: nobody has seen the call.
fn is_unsent(error: &Status) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if inner.to_string().contains("operation was canceled") {
            return true;
        }
        cause = inner.source();
    }
    false
}

fn unhex(text: &str) -> Result<Bytes, std::num::ParseIntError> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16)).collect()
}

async fn ask(channel: Channel, message: Bytes, number: usize) -> Option<Result<Bytes, Status>> {
    let mut client = Grpc::new(channel);
    if number % 11 == 0 {
        client = client.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
    }
    let mut request = Request::new(message);
    request.set_timeout(if number % 23 == 0 { Duration::from_millis(1) } else { Duration::from_secs(10) });
    let call = async move {
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        client.unary(request, METHOD, Raw).await.map(tonic::Response::into_inner)
    };
    if number % 17 != 0 {
        return Some(call.await);
    }
    let patience = Duration::from_micros(200 * (number as u64 % 3)); // a call that is dropped is reset
    tokio::time::timeout(patience, call).await.ok()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, target, allowed, denied] = arguments.as_slice() else {
        return Err("expected TARGET ALLOWED DENIED".into());
    };
    let channel = Endpoint::from_shared(format!("http://{target}"))?
        .http2_keep_alive_interval(Duration::from_millis(200))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .connect_lazy();
    let messages = [unhex(allowed)?, unhex(denied)?];
    let ending = Arc::new(AtomicBool::new(false));
    let report = Arc::new(Mutex::new(Report::default()));
    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let (channel, messages, ending, report) = (channel.clone(), messages.clone(), ending.clone(), report.clone());
        workers.push(tokio::spawn(async move {
            let mut number = worker;
            while !ending.load(Relaxed) {
                let mut answer = ask(channel.clone(), messages[number % 2].clone(), number).await;
                if answer.as_ref().is_some_and(|told| told.as_ref().is_err_and(is_unsent)) {
                    report.lock().await.again += 1;
                    answer = ask(channel.clone(), messages[number % 2].clone(), number).await;
                }
                report.lock().await.note(number, answer);
                number += WORKERS;
                tokio::time::sleep(PAUSE).await;
            }
        }));
    }
    signal(SignalKind::terminate())?.recv().await;
    ending.store(true, Relaxed);
    for worker in workers {
        worker.await?;
    }
    report.lock().await.print();
    Ok(())
}
