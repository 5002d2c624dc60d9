//! The settings that all calls of a retry layer share.

use std::fmt;
use std::sync::Arc;
use std::thread::LocalKey;

use super::budget::RetryBudget;
use super::policy::RetryPolicy;
use crate::RetryAdvisor;
use crate::internal::arc_pool::{Pooled, Spares};

/// All settings except the classifier and the response kind, which are generic. Every call holds a reference to the
/// settings, so the references are [`Pooled`].
#[derive(Clone)]
pub(super) struct RetrySettings {
    pub(super) name: Option<Arc<str>>,
    pub(super) policy: RetryPolicy,
    pub(super) budget: Option<RetryBudget>,
    pub(super) advisor: Option<Arc<dyn RetryAdvisor + Send + Sync>>,
}

impl RetrySettings {
    /// True if the budget cannot pay for a retry now.
    #[inline]
    pub(super) fn budget_is_spent(&self) -> bool {
        self.budget.as_ref().is_some_and(RetryBudget::is_spent)
    }
}

impl Pooled for RetrySettings {
    fn spares() -> &'static LocalKey<Spares<Self>> {
        thread_local! {
            static SPARES: Spares<RetrySettings> = const { Spares::new() };
        }
        &SPARES
    }
}

impl fmt::Debug for RetrySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetrySettings")
            .field("name", &self.name)
            .field("policy", &self.policy)
            .field("budget", &self.budget)
            .field("is_advised", &self.advisor.is_some())
            .finish()
    }
}
