//! Calls that go on after their callers were answered with a stale response, so that the next caller has a fresh one.

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

/// The right of a call to go on without its caller.
pub(super) struct Refresh {
    slot: RefreshSlot,
    end: Instant,
}

impl Refresh {
    /// `None` if nothing of the call may be stored, if another call for its key goes on already, or if too many calls do.
    pub(super) fn begin(cacheable: &CacheableCall) -> Option<Self> {
        /// The time of a call that has no deadline.
        const LONGEST: Duration = Duration::from_secs(60);
        if !cacheable.may_store() {
            return None;
        }
        let state = cacheable.state();
        let slot = state.refreshes.begin(cacheable.key(), state.max_refreshes())?;
        let end = cacheable.deadline().unwrap_or_else(|| Instant::now() + LONGEST);
        Some(Self { slot, end })
    }

    /// Lets the call go on in a task of its own, for the cache alone.
    pub(super) fn spawn<F, B, E>(self, call: F)
    where
        F: Future<Output = Result<Response<ResponseBody<B>>, Error<E>>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        E: 'static,
    {
        let Self { slot, end } = self;
        let goes_on = async move {
            let _over = timeout_at(end, read(call)).await;
            drop(slot);
        };
        // The events of the refresh belong to the span of the call that began it.
        tokio::spawn(goes_on.in_current_span());
    }
}

/// Reads a response for as long as something of it may be kept.
async fn read<F, B, E>(call: F)
where
    F: Future<Output = Result<Response<ResponseBody<B>>, Error<E>>>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let Ok(response) = call.await else { return };
    let mut body = pin!(response.into_body());
    while body.is_recording() && matches!(body.frame().await, Some(Ok(_))) {}
}
