//! Ends a call at the deadline that its client set with `DEADLINE_EXCEEDED`, as gRPC asks. Every call goes through it.
//!
//! tonic ends such calls too, but with `CANCELLED`, which the client gets when the server's timer is the quicker one. This
//! timer starts before tonic's and is asked first. A stream that has begun to answer is the client's to end.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::HeaderMap;
use tonic::codegen::http::Request;
use tonic::codegen::http::Response;
use tower_layer::Layer;

/// The header in which a client says how long it will wait, such as `250m` for 250 ms.
const HEADER: &str = "grpc-timeout";

/// The most digits that the header may have.
const DIGITS_MAX: usize = 8;

/// Puts [`Deadline`] before a service.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeadlineLayer;

/// A service whose calls end at the deadlines of their clients.
#[derive(Clone, Debug)]
pub struct Deadline<S> {
    inner: S,
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner }
    }
}

impl<S, B> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let timer = timeout_of(request.headers()).map(tokio::time::sleep);
        let call = self.inner.call(request);
        let Some(timer) = timer else { return Box::pin(call) };
        Box::pin(async move {
            tokio::select! {
                biased;
                answer = call => answer,
                () = timer => Ok(Status::deadline_exceeded("the client's deadline has passed").into_http()),
            }
        })
    }
}

/// How long the client will wait; `None` if it does not say, or not as gRPC writes it.
fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(HEADER)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > DIGITS_MAX || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::grpc::deadline::HEADER;
    use crate::grpc::deadline::timeout_of;
    use std::time::Duration;
    use tonic::codegen::http::HeaderMap;

    #[test]
    fn the_header_is_read_as_grpc_writes_it() {
        let cases = [
            ("1H", Some(Duration::from_secs(3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("30S", Some(Duration::from_secs(30))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("7n", Some(Duration::from_nanos(7))),
            ("0n", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("7", None),
            ("7s", None),
            ("-7S", None),
            ("123456789S", None),
        ];
        for (text, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, text.parse().unwrap());
            assert_eq!(timeout_of(&headers), expected, "{text:?}");
        }
        assert_eq!(timeout_of(&HeaderMap::new()), None);
    }
}
