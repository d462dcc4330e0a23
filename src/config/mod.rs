//! Configuration: text from four places to one complete [`Config`].
//!
//! Each reader (`args`, `env`, `yaml`) gives what was written, as [`Raw`] text; `merge` lays flags over variables over the file
//! over defaults and parses each value once. `settings` is the table: a setting is one row there.

mod args;
mod endpoints;
mod env;
mod flush;
mod handles;
mod keys;
mod lists;
mod merge;
mod network;
mod secret;
mod settings;
mod values;
mod yaml;

pub use args::ArgsError;
pub use args::Command;
pub use args::EventsFrom;
pub use args::OutTo;
pub use args::RunArgs;
pub use args::SpoolArgs;
pub use args::Topic;
pub use args::help;
pub use args::parse as parse_args;
pub use endpoints::FurtherEndpoint;
pub use env::AwsEnv;
pub use env::Env;
pub use env::Keeper;
pub use env::kept_elsewhere;
pub use env::may_be_shown;
pub use handles::Handles;
pub use handles::Kept;
pub use keys::KeySource;
pub use keys::Way;
pub use lists::LogRules;
pub use lists::MapperProfile;
pub use lists::MapperProfiles;
pub use lists::Mapping;
pub use lists::Quoted;
pub use lists::ReplaceTag;
pub use lists::ReplaceTags;
pub use lists::Styles;
pub use lists::Words;
pub use merge::Effective;
pub use merge::FileRead;
pub use merge::Loaded;
pub use merge::Origin;
pub use merge::find_file;
pub use merge::load;
pub use merge::load_with;
pub use network::Hosts;
pub use network::ProxyUrl;
pub use network::TlsVersion;
pub use secret::Ciphertext;
pub use secret::Secret;
pub use secret::SecretName;
pub use settings::Config;
pub use settings::SETTINGS;
pub use settings::Setting;
pub use values::BaseUrl;
pub use values::Fsync;
pub use values::HostOrUrl;
pub use values::Raw;
pub use values::Site;
pub use values::StorageMode;
