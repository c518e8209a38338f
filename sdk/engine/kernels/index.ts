/** Every kernel there is. The order fixes the wasm opcodes (`assembly/generated/kernels.ts`). */
import type { KernelSchema } from "../schema.ts";
import { batchNormBack, batchNormFold } from "./batch-norm.ts";
import { activate, activateGradient } from "./activate.ts";
import { broadcastAdd } from "./broadcast-add.ts";
import { channelAffine, channelMoments, channelSums } from "./channels.ts";
import { classLoss } from "./class-loss.ts";
import { conv2d } from "./conv2d.ts";
import { conv2dInput } from "./conv2d-input.ts";
import { conv2dWeights } from "./conv2d-weights.ts";
import { covariance, variance } from "./covariance.ts";
import { covarianceF64, varianceF64 } from "./covariance-f64.ts";
import { dropout } from "./dropout.ts";
import { eigenBack, eigenSweeps, tridiagonalColumn, tridiagonalProduct, tridiagonalUpdate } from "./eigen.ts";
import { elementwise } from "./elementwise.ts";
import { fullCovarianceF64, fullVarianceF64 } from "./full-covariance-f64.ts";
import { fullCovariance, fullVariance } from "./full-covariance.ts";
import { tileFold, tileProduct } from "./krylov.ts";
import { choleskyFactor, choleskyUpdate, tileDiagonal, tileLoad, triangularSolve } from "./linalg.ts";
import { matmul } from "./matmul.ts";
import { pool2d, pool2dInput } from "./pool2d.ts";
import { adamStep, rmspropStep, sgdStep } from "./optimisers.ts";
import { randomNormal } from "./random-normal.ts";
import { recursion, recursionF64 } from "./recursion.ts";
import { reduce } from "./reduce.ts";
import { simdPeak } from "./simd-peak.ts";
import { softmax, softmaxGradient } from "./softmax.ts";
import { stridedCopy } from "./strided-copy.ts";
import { targetGradient } from "./target-gradient.ts";

export const kernels: readonly KernelSchema[] = [
  matmul,
  elementwise,
  reduce,
  variance,
  covariance,
  varianceF64,
  covarianceF64,
  fullVariance,
  fullCovariance,
  fullVarianceF64,
  fullCovarianceF64,
  tileLoad,
  tileDiagonal,
  choleskyFactor,
  choleskyUpdate,
  triangularSolve,
  conv2d,
  broadcastAdd,
  randomNormal,
  tileProduct,
  tileFold,
  tridiagonalColumn,
  tridiagonalProduct,
  tridiagonalUpdate,
  eigenSweeps,
  eigenBack,
  simdPeak,
  recursion,
  recursionF64,
  conv2dInput,
  conv2dWeights,
  pool2d,
  pool2dInput,
  stridedCopy,
  channelSums,
  channelMoments,
  channelAffine,
  batchNormFold,
  batchNormBack,
  softmax,
  softmaxGradient,
  classLoss,
  activate,
  activateGradient,
  targetGradient,
  dropout,
  sgdStep,
  adamStep,
  rmspropStep,
] as unknown[] as KernelSchema[];

export {
  activate,
  activateGradient,
  adamStep,
  batchNormBack,
  batchNormFold,
  broadcastAdd,
  channelAffine,
  channelMoments,
  channelSums,
  choleskyFactor,
  choleskyUpdate,
  classLoss,
  conv2d,
  conv2dInput,
  conv2dWeights,
  covariance,
  dropout,
  eigenBack,
  eigenSweeps,
  elementwise,
  fullCovariance,
  fullVariance,
  matmul,
  pool2d,
  pool2dInput,
  randomNormal,
  recursion,
  reduce,
  rmspropStep,
  sgdStep,
  simdPeak,
  softmax,
  softmaxGradient,
  stridedCopy,
  targetGradient,
  tileDiagonal,
  tileFold,
  tileLoad,
  tileProduct,
  triangularSolve,
  tridiagonalColumn,
  tridiagonalProduct,
  tridiagonalUpdate,
  variance,
};
