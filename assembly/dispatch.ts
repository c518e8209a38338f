/**
 * From an opcode to a kernel. A kernel is a function of (params, buffers, begin, end, scratch): it does the work items
 * [begin, end) of a command, with `buffers` pointing at an array of addresses in the order of its schema and `scratch`
 * at SCRATCH_BYTES that belong to the calling thread.
 */
import { Opcode } from "./generated/kernels";
import { COPY_OPCODE } from "./generated/layout";
import { activate, activateGradient } from "./activate";
import { broadcastAdd } from "./broadcastAdd";
import { conv2d } from "./conv2d";
import { conv2dInput } from "./conv2dInput";
import { conv2dWeights } from "./conv2dWeights";
import { covariance } from "./covariance";
import { covarianceF64, varianceF64 } from "./covarianceF64";
import { fullCovarianceF64 } from "./fullCovarianceF64";
import { fullVarianceF64 } from "./fullVarianceF64";
import { variance } from "./variance";
import { dropout } from "./dropout";
import { elementwise } from "./elementwise";
import { fullCovariance } from "./fullCovariance";
import { fullVariance } from "./fullVariance";
import { eigenBack } from "./linalg/backtransform";
import { choleskyFactor, choleskyUpdate } from "./linalg/cholesky";
import { tileDiagonal, tileLoad } from "./linalg/load";
import { triangularSolve } from "./linalg/solve";
import { tileFold, tileProduct } from "./linalg/tileProduct";
import { eigenSweeps } from "./linalg/sweeps";
import { tridiagonalColumn, tridiagonalProduct, tridiagonalUpdate } from "./linalg/tridiagonal";
import { matmul } from "./matmul";
import { pool2d, pool2dInput } from "./pool2d";
import { adamStep, rmspropStep, sgdStep } from "./optimisers";
import { randomNormal } from "./randomNormal";
import { recursion } from "./recursion";
import { recursionF64 } from "./recursionF64";
import { reduce } from "./reduce";
import { simdPeak } from "./simdPeak";
import { stridedCopy } from "./stridedCopy";
import { channelSums } from "./channelSums";
import { channelMoments } from "./channelMoments";
import { channelAffine } from "./channelAffine";
import { batchNormFold } from "./batchNormFold";
import { batchNormBack } from "./batchNormBack";
import { softmax } from "./softmax";
import { softmaxGradient } from "./softmaxGradient";
import { classLoss } from "./classLoss";
import { targetGradient } from "./targetGradient";

export function execute(opcode: i32, params: usize, buffers: usize, begin: i32, end: i32, scratch: usize): void {
  switch (opcode) {
    case Opcode.matmul:
      matmul(params, buffers, begin, end, scratch);
      break;
    case Opcode.variance:
      variance(params, buffers, begin, end, scratch);
      break;
    case Opcode.covariance:
      covariance(params, buffers, begin, end, scratch);
      break;
    case Opcode.varianceF64:
      varianceF64(params, buffers, begin, end, scratch);
      break;
    case Opcode.covarianceF64:
      covarianceF64(params, buffers, begin, end, scratch);
      break;
    case Opcode.fullVarianceF64:
      fullVarianceF64(params, buffers, begin, end, scratch);
      break;
    case Opcode.fullCovarianceF64:
      fullCovarianceF64(params, buffers, begin, end, scratch);
      break;
    case Opcode.elementwise:
      elementwise(params, buffers, begin, end, scratch);
      break;
    case Opcode.reduce:
      reduce(params, buffers, begin, end, scratch);
      break;
    case Opcode.tileLoad:
      tileLoad(params, buffers, begin, end, scratch);
      break;
    case Opcode.tileDiagonal:
      tileDiagonal(params, buffers, begin, end, scratch);
      break;
    case Opcode.choleskyFactor:
      choleskyFactor(params, buffers, begin, end, scratch);
      break;
    case Opcode.choleskyUpdate:
      choleskyUpdate(params, buffers, begin, end, scratch);
      break;
    case Opcode.triangularSolve:
      triangularSolve(params, buffers, begin, end, scratch);
      break;
    case Opcode.conv2d:
      conv2d(params, buffers, begin, end, scratch);
      break;
    case Opcode.broadcastAdd:
      broadcastAdd(params, buffers, begin, end, scratch);
      break;
    case Opcode.randomNormal:
      randomNormal(params, buffers, begin, end, scratch);
      break;
    case Opcode.tileProduct:
      tileProduct(params, buffers, begin, end, scratch);
      break;
    case Opcode.tileFold:
      tileFold(params, buffers, begin, end, scratch);
      break;
    case Opcode.tridiagonalColumn:
      tridiagonalColumn(params, buffers, begin, end, scratch);
      break;
    case Opcode.tridiagonalProduct:
      tridiagonalProduct(params, buffers, begin, end, scratch);
      break;
    case Opcode.tridiagonalUpdate:
      tridiagonalUpdate(params, buffers, begin, end, scratch);
      break;
    case Opcode.eigenSweeps:
      eigenSweeps(params, buffers, begin, end, scratch);
      break;
    case Opcode.eigenBack:
      eigenBack(params, buffers, begin, end, scratch);
      break;
    case Opcode.simdPeak:
      simdPeak(params, buffers, begin, end, scratch);
      break;
    case Opcode.fullVariance:
      fullVariance(params, buffers, begin, end, scratch);
      break;
    case Opcode.fullCovariance:
      fullCovariance(params, buffers, begin, end, scratch);
      break;
    case Opcode.recursion:
      recursion(params, buffers, begin, end, scratch);
      break;
    case Opcode.recursionF64:
      recursionF64(params, buffers, begin, end, scratch);
      break;
    case Opcode.conv2dInput:
      conv2dInput(params, buffers, begin, end, scratch);
      break;
    case Opcode.conv2dWeights:
      conv2dWeights(params, buffers, begin, end, scratch);
      break;
    case Opcode.pool2d:
      pool2d(params, buffers, begin, end, scratch);
      break;
    case Opcode.pool2dInput:
      pool2dInput(params, buffers, begin, end, scratch);
      break;
    case Opcode.stridedCopy:
      stridedCopy(params, buffers, begin, end, scratch);
      break;
    case Opcode.channelSums:
      channelSums(params, buffers, begin, end, scratch);
      break;
    case Opcode.channelMoments:
      channelMoments(params, buffers, begin, end, scratch);
      break;
    case Opcode.channelAffine:
      channelAffine(params, buffers, begin, end, scratch);
      break;
    case Opcode.batchNormFold:
      batchNormFold(params, buffers, begin, end, scratch);
      break;
    case Opcode.batchNormBack:
      batchNormBack(params, buffers, begin, end, scratch);
      break;
    case Opcode.softmax:
      softmax(params, buffers, begin, end, scratch);
      break;
    case Opcode.softmaxGradient:
      softmaxGradient(params, buffers, begin, end, scratch);
      break;
    case Opcode.classLoss:
      classLoss(params, buffers, begin, end, scratch);
      break;
    case Opcode.activate:
      activate(params, buffers, begin, end, scratch);
      break;
    case Opcode.activateGradient:
      activateGradient(params, buffers, begin, end, scratch);
      break;
    case Opcode.targetGradient:
      targetGradient(params, buffers, begin, end, scratch);
      break;
    case Opcode.dropout:
      dropout(params, buffers, begin, end, scratch);
      break;
    case Opcode.sgdStep:
      sgdStep(params, buffers, begin, end, scratch);
      break;
    case Opcode.adamStep:
      adamStep(params, buffers, begin, end, scratch);
      break;
    case Opcode.rmspropStep:
      rmspropStep(params, buffers, begin, end, scratch);
      break;
    case COPY_OPCODE:
      memory.copy(load<u32>(params), load<u32>(params, 4), load<u32>(params, 8));
      break;
    default:
      unreachable();
  }
}

/** The address of buffer `index` of a command. */
// @ts-ignore: decorator
@inline
export function buffer(buffers: usize, index: i32): usize {
  return load<u32>(buffers + (<usize>index << 2));
}
