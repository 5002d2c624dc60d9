//! A store that returns damaged values: decoding an entry never panics.
//!
//! Under the fuzzer, the checksum of an entry is not checked, so that damaged values reach the decoder.

#![no_main]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty, Full};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer, Store};
use steadfast::{BoxError, Error, ErrorKind};
use tower::{ServiceBuilder, ServiceExt};

#[derive(Debug, Clone, Arbitrary)]
struct Damage {
    keep: u16,
    flips: Vec<(u16, u8)>,
    append: Vec<u8>,
}

/// A store that damages the last value and returns it.
#[derive(Debug, Clone)]
struct DamagingStore {
    damage: Damage,
    stored: Arc<Mutex<Option<Bytes>>>,
}

impl Store for DamagingStore {
    async fn get(&self, _key: &str) -> Result<Option<Bytes>, BoxError> {
        let Some(stored) = self.stored.lock().unwrap().clone() else { return Ok(None) };
        let mut value = stored[..stored.len().min(self.damage.keep.into())].to_vec();
        for (at, bits) in &self.damage.flips {
            if let Some(byte) = value.get_mut(usize::from(*at)) {
                *byte ^= bits;
            }
        }
        value.extend_from_slice(&self.damage.append);
        Ok(Some(value.into()))
    }

    async fn put(&self, _key: &str, value: Bytes, _keep_for: Duration) -> Result<(), BoxError> {
        *self.stored.lock().unwrap() = Some(value);
        Ok(())
    }
}

fuzz_target!(|damage: Damage| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let store = DamagingStore { damage, stored: Arc::default() };
        let one = LastKnownGood::builder().store(store.clone()).build().unwrap();
        let uri = Uri::from_static("http://sku.internal/v1/items/42");
        let answer = Response::builder().header("vary", "accept").header("etag", "\"1\"");
        one.insert(&uri, answer.body(Bytes::from_static(b"the last good answer")).unwrap()).await.unwrap();

        let other = LastKnownGood::builder().store(store).build().unwrap();
        let service = ServiceBuilder::new().layer(LastKnownGoodLayer::new(other)).service_fn(
            async |_: Request<Empty<Bytes>>| {
                Err::<Response<Full<Bytes>>, _>(Error::<Infallible>::new(ErrorKind::Body))
            },
        );
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri;
        if let Ok(response) = service.oneshot(request).await {
            response.into_body().collect().await.unwrap();
        }
    });
});
