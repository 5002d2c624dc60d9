//! Tests of the ejections.
