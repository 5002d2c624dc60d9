//! A refresh is a call that continues in the background after its caller got a stale response.
//!
//! The response of a refresh renews the entry for the next caller.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use super::plan::CacheableCall;
use super::record::body::ResponseBody;
use crate::last_known_good::memory::refreshes::RefreshSlot;
use crate::{BoxError, Error};

/// The permission of a call to continue without its caller.
pub(super) struct Refresh {
    slot: RefreshSlot,
    end: Instant,
}

impl Refresh {
    /// Takes a slot for a refresh. `None` if the response must not be stored, if a refresh for the key is running, or
    /// if `max_refreshes` are running.
    pub(super) fn begin(cacheable: &CacheableCall) -> Option<Self> {
        /// The time limit of a refresh without a deadline.
        const MAX_TIME: Duration = Duration::from_secs(60);
        if !cacheable.may_store() {
            return None;
        }
        let state = cacheable.state();
        let slot = state.refreshes.begin(cacheable.key(), state.max_refreshes())?;
        let end = cacheable.deadline().unwrap_or_else(|| Instant::now() + MAX_TIME);
        Some(Self { slot, end })
    }

    /// Spawns a task in which the call continues, only to renew the entry.
    pub(super) fn spawn<F, B, E>(self, call: F)
    where
        F: Future<Output = Result<Response<ResponseBody<B>>, Error<E>>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        E: 'static,
    {
        let Self { slot, end } = self;
        let task = async move {
            let _over = timeout_at(end, read(call)).await;
            drop(slot);
        };
        // The tracing events of a refresh belong to the span of the caller.
        tokio::spawn(task.in_current_span());
    }
}

/// Reads the body of the response for as long as the body is recorded.
async fn read<F, B, E>(call: F)
where
    F: Future<Output = Result<Response<ResponseBody<B>>, Error<E>>>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let Ok(response) = call.await else { return };
    let mut body = pin!(response.into_body());
    while body.is_recording() && matches!(body.frame().await, Some(Ok(_))) {
        tokio::task::consume_budget().await; // A body of empty frames must not hold the thread.
    }
}
