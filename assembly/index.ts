export { execute } from "./dispatch";
export { work } from "./queue";
