//! A classifier made from a function that judges results.

use std::fmt;
use std::marker::PhantomData;

use super::{Classify, Judge, Outcome};
use crate::{Error, ErrorInfo};

/// Makes a classifier from a function that judges results.
///
/// The function sees an error as an [`ErrorInfo`], whatever the client. The [module](super) has an example.
pub fn from_fn<Res, F>(function: F) -> FromFn<F, Res>
where
    F: Fn(Result<&Res, &ErrorInfo>) -> Outcome + Clone,
{
    FromFn { function, signature: PhantomData }
}

/// The classifier that [`from_fn`] makes.
pub struct FromFn<F, Res> {
    function: F,
    signature: PhantomData<fn(&Res)>,
}

impl<Req, Res, E, F> Classify<Req, Res, E> for FromFn<F, Res>
where
    F: Fn(Result<&Res, &ErrorInfo>) -> Outcome + Clone,
{
    type Judge = Self;

    fn judge(&self, _request: &Req) -> Self {
        self.clone()
    }
}

impl<Res, E, F> Judge<Res, E> for FromFn<F, Res>
where
    F: Fn(Result<&Res, &ErrorInfo>) -> Outcome,
{
    fn classify(&self, result: Result<&Res, &Error<E>>) -> Outcome {
        (self.function)(result.map_err(Error::info))
    }
}

impl<F: Clone, Res> Clone for FromFn<F, Res> {
    fn clone(&self) -> Self {
        Self { function: self.function.clone(), signature: PhantomData }
    }
}

impl<F, Res> fmt::Debug for FromFn<F, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromFn")
    }
}
