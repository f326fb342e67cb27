//! Answers every check of Envoy with an empty message, which Envoy takes as OK: what it costs to ask at all, with tonic.
//!
//!     tonic-floor 127.0.0.1:0
//!
//! Prints the address it listens on once it serves. TOKIO_WORKER_THREADS says how many threads it has; without it, one
//! a core. Ends by SIGTERM.

use envoy_types::ext_authz::v3::pb::{Authorization, AuthorizationServer, CheckRequest, CheckResponse};
use tokio::net::TcpListener;
use tonic::transport::{Server, server::TcpIncoming};
use tonic::{Request, Response, Status};

struct Floor;

#[tonic::async_trait]
impl Authorization for Floor {
    async fn check(&self, _request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Ok(Response::new(CheckResponse::default()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let wanted = std::env::args().nth(1).ok_or("expected the address to listen on")?;
    let listener = TcpListener::bind(wanted).await?;
    println!("listening on {}", listener.local_addr()?);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let service = AuthorizationServer::new(Floor);
    Server::builder().add_service(service).serve_with_incoming(incoming).await?;
    Ok(())
}
