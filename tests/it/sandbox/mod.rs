//! The whole daemon on the in-process sandbox, with faults: driver, cluster, sources, evidence and events together.

mod api_faults;
mod broker;
mod broker_down;
mod claims;
mod declarations;
mod drift;
mod grpc;
mod images;
mod kills;
mod ledger;
mod lost_record;
mod modes;
mod monorepo;
mod no_help;
mod people;
mod process;
mod prometheus;
mod pulls;
mod repository;
mod rewritten;
mod routes;
mod suspension;
mod webhooks;
mod world;
