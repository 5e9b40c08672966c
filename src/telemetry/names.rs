//! Names of metrics and labels, each with its unit: constants, in one place. Label values come from enums or
//! configured names, never from requests.
