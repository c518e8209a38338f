/** The float64 interpreter of covariance programs: it lives with the conformance suite, which ships. */
export * from "../../sdk/engine/conformance/reference.ts";
