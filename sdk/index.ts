/** What every entry point exports. The entry points differ only in the platform that they install. */
export { open, parseBytes, type Engine, type EngineStats, type OpenOptions } from "./engine/engine.ts";
export type { BackendInfo, BackendName } from "./engine/backend.ts";
export { WidefieldError, type ErrorCode } from "./errors.ts";

export { abs, archToJson, avgPool, compile, conv, dense, erf, flatten, globalAvgPool } from "./arch/arch.ts";
export { identity, leakyRelu, type Arch } from "./arch/arch.ts";
export type { AvgPoolOptions } from "./arch/avg-pool.ts";
export { mixture, relu, repeat, resnet, resnetBlock, serial, step, sum } from "./arch/arch.ts";
export { archFromJson } from "./arch/json.ts";
export type { ConvOptions, Padding } from "./arch/conv.ts";
export type { DenseOptions } from "./arch/dense.ts";
export type { LayerJson, Shape } from "./arch/layer.ts";
export type { ReluOptions } from "./arch/relu.ts";
export { describeArch, type ArchDescription, type LayerRow, type StepRow } from "./arch/describe.ts";
export { preset, presetNames } from "./arch/presets.ts";
export { kernel, kernelDiagonal, type Kernel, type KernelOptions, type Kernels } from "./arch/kernel.ts";
export { kernelMatrix, type KernelMatrixOptions } from "./arch/kernel-matrix.ts";
export type { ImageSet } from "./arch/image-set.ts";
export { nngp, type KernelKind, type KernelSpec, type Parametrisation } from "./arch/kernel-spec.ts";
export { network, Network, type NetworkInputs, type NetworkOptions } from "./arch/network.ts";
export { batchNorm, cabs, clippedRelu, dropout, elu, hardTanh, maxPool } from "./arch/arch.ts";
export { sigmoid, softplus, staircase, tanh, threshold } from "./arch/arch.ts";
export type { BatchNormLayerOptions } from "./arch/batch-norm.ts";
export type { ClippedReluOptions } from "./arch/clipped-relu.ts";
export type { DropoutOptions } from "./arch/dropout.ts";
export type { EluOptions } from "./arch/elu.ts";
export type { MaxPoolOptions } from "./arch/max-pool.ts";
export type { StaircaseOptions } from "./arch/staircase.ts";
export type { ThresholdOptions } from "./arch/threshold.ts";
export type { Initialiser, Law } from "./arch/initialisers.ts";
export { trainableArch, trainableInit, trainableNames, type TrainableOptions } from "./arch/trainable.ts";
export { trainablePresetNames } from "./arch/presets.ts";
export { parameterCount, type KernelDescription } from "./arch/describe.ts";

export { labelTensor, scope, tensor, Tensor } from "./tensor/tensor.ts";
export { customGradient, gradients, type CustomGradient, type Gradients } from "./tensor/tape.ts";
export * as ops from "./tensor/ops.ts";
export type { Model, ModelParameter, ModelState, Pass } from "./tensor/model.ts";
export { targetFunction, targetRule, targetRuleNames, targetRulesOf, targetRuleTable } from "./tensor/target-rules.ts";
export type { TargetActivation, TargetRuleOptions, TargetRuleParams, TargetRuleRow } from "./tensor/target-rules.ts";

export { BatchLoader, batches, epochOrder, release } from "./data/batches.ts";
export type { BadImage, Batch, BatchPlan, EpochPlan, LoaderOptions } from "./data/batches.ts";
export { datasetSource, fromTargets, problemSource, requireFit } from "./data/batch-source.ts";
export type { BatchSource, DatasetSourceOptions, NetworkEnds, TargetContent } from "./data/batch-source.ts";
export { trainingSplit, type SplitOptions, type TrainingSplit } from "./data/splits.ts";
export { normalisationOf, type Normalisation } from "./data/normalisation.ts";
export { augmentationOf, type Augmentation } from "./data/augment.ts";
export { folderSource, openImageFolder, type ImageFolder, type ImageFolderOptions } from "./data/image-folder.ts";
export { verifyImageFolder, type FolderReport } from "./data/verify-folder.ts";

export { train, type TrainOptions, type TrainingProgress, type TrainingResult } from "./learn/train.ts";
export type { Checkpointing, Diagnostics, LayerSight } from "./learn/train.ts";
export { evaluate, type EvaluateOptions, type EvaluationRun } from "./learn/evaluate.ts";
export { adam, rmsprop, sgd, type Optimiser } from "./learn/optimisers.ts";
export type { AdamOptions, RmspropOptions, SgdOptions } from "./learn/optimisers.ts";
export { constantRate, cosine, linearToZero, scheduleFrom, stepDecay, type Schedule } from "./learn/schedules.ts";
export { arrayData, type TrainingBatch, type TrainingData } from "./learn/training-data.ts";
export { LOSS_NAMES, type BatchLoss, type CustomLoss, type LossName } from "./learn/training-loss.ts";
export type { BatchTensors } from "./learn/batch-tensors.ts";
export type { Replica } from "./learn/data-parallel.ts";
export { captureModel, restoreModel } from "./learn/training-state.ts";
export type {
  BestEpoch,
  EpochRecord,
  NamedArray,
  OptimiserState,
  Scores,
  TrainingState,
} from "./learn/training-state.ts";
export { CheckpointFolder, loadCheckpoint, restoreCheckpoint, type Checkpoint } from "./learn/checkpoint.ts";
export type { CheckpointName, RunIdentity } from "./learn/checkpoint.ts";
export { MetricsLog, readMetrics, type Metrics, type StepMetrics } from "./learn/metrics-log.ts";
export { Histogram } from "./learn/histogram.ts";
export { sampleTensor, StepHistograms, type StepHistogramsOptions } from "./learn/step-histograms.ts";
export { decodeSafetensors, readSafetensors, writeSafetensors, type Safetensors } from "./platform/safetensors.ts";
export { epochScalars, scoreScalars, TensorBoard, type TensorBoardOptions } from "./report/tensorboard.ts";
export { compareSpec, smoothed, trainingSpec, type ComparedRun, type TrainingTitles } from "./report/training-chart.ts";

export {
  WideRidge,
  WIDE_ITERATIONS,
  WIDE_TOLERANCE,
  type WideRidgeFit,
  type WideRidgeOptions,
} from "./learn/wide/ridge.ts";
export { WideDesign, type Inputs as WideInputs } from "./learn/wide/design.ts";
export { parameterCount as wideParameterCount, type LinearWideModel } from "./learn/wide/linear-model.ts";
export { tangentAmplitudes, unitDirections } from "./learn/wide/directions.ts";
export { MeanFieldNetwork, type MeanFieldOptions } from "./learn/wide/mean-field.ts";
export { LinearWideNetwork } from "./learn/wide/linear-networks.ts";
export { MyrtleNetwork, type MyrtleOptions } from "./learn/wide/myrtle.ts";
export { modelOutputs, summedSquareLoss } from "./learn/wide/outputs.ts";
export { paperBatch, paperFactor, type WideName } from "./learn/wide/paper.ts";
export { runWideSweep, type WideSweep } from "./experiments/sweep-wide.ts";
export { wideLambdas } from "./experiments/wide-lambdas.ts";
export { PAPER_CG, PAPER_STEPS, type WideModel } from "./experiments/wide-models.ts";
export { joinSweeps, readSweep, type FinishedSweep } from "./experiments/sweep-join.ts";
export { recipe, recipes, type Recipe } from "./experiments/ftprop-recipes.ts";
export { nonlinearity, nonlinearityNames, type TargetPropagation } from "./experiments/nonlinearities.ts";
export { runTraining, testModel, type TrainExperiment, type TrainExperimentResult } from "./experiments/train.ts";
export type { TestExperiment } from "./experiments/train.ts";
export type { TrainImages } from "./experiments/train-parts.ts";
export { trainSettings, type TrainSettings, type TrainSettingsInput } from "./experiments/train-settings.ts";

export { Dataset, fromArrays, type ImageShape, type Selection } from "./data/dataset.ts";
export { digits } from "./data/digits.ts";
export { classification, noiseLevel, noiseLevels, openProblem, problemNames } from "./data/problems.ts";
export type { NoiseKind, ProblemOptions } from "./data/problems.ts";
export type { Problem } from "./data/problem.ts";
export { synth, type SynthOptions } from "./data/synth.ts";
export { Dct2 } from "./data/transforms/dct.ts";
export { HIGH_FREQUENCY_MULTIPLIERS, highFrequencyNoise } from "./data/transforms/high-frequency.ts";
export type { HighFrequencyOptions } from "./data/transforms/high-frequency.ts";
export { COLOUR_THRESHOLDS, GREY_THRESHOLDS, lowFrequencyNoise } from "./data/transforms/low-frequency.ts";
export type { LowFrequencyOptions } from "./data/transforms/low-frequency.ts";
export { cifar2, grey } from "./data/transforms/cifar2.ts";
export { npyDataset, type NpyArrays, type NpySource } from "./data/npy-dataset.ts";
export { loadDataset, DATASETS, type LoadOptions } from "./data/registry.ts";

export { errorPercent, gp, GaussianProcess, type FitOptions } from "./learn/gp.ts";
export { Posterior, type PosteriorOptions, type Prediction } from "./learn/posterior.ts";
export { fitTemperature, logLoss, scores } from "./learn/calibration.ts";
export { cholesky, openFactor, type CholeskyOptions, type CholeskyProgress } from "./linalg/cholesky.ts";
export type { Scratch } from "./linalg/cholesky.ts";
export { choleskyPlan, type CholeskyPlan, type PlanOptions } from "./linalg/plan.ts";
export { eigh, eighBytes, type Eigen, type EighOptions, type EighProgress } from "./linalg/eigh.ts";
export { effectiveDimension, inverseSquareRoot, logDeterminant, ridgePath, squareRoot } from "./linalg/spectral.ts";
export type { InverseSquareRootOptions, RidgeSolution, SquareRootOptions } from "./linalg/spectral.ts";
export { solve, type Solution, type SolveOptions, type SolveResult } from "./linalg/solve.ts";
export type { SolveMatrix, SolveProgress } from "./linalg/prepare.ts";
export type { SolveMethod } from "./linalg/solve-plan.ts";
export type { Solver } from "./linalg/solver.ts";
export { CholeskyFactor } from "./linalg/factor.ts";
export { cg, type CgOptions, type CgResult } from "./linalg/cg.ts";
export { blockCg, type BlockCgOptions, type BlockCgResult } from "./linalg/block-cg.ts";
export { multiShiftCg, type MultiShiftResult, type MultiShiftSolution } from "./linalg/multi-shift-cg.ts";
export type { KrylovOptions, KrylovProgress, KrylovStop } from "./linalg/krylov.ts";
export { denseOperator, type LinearOperator } from "./linalg/operator.ts";
export { featureOperator, tileOperator, type FeatureSource, type TileOperator } from "./linalg/tile-operator.ts";
export { blockJacobi, jacobi, type Preconditioner } from "./linalg/preconditioner.ts";
export { pivotedCholesky, type PivotedCholesky, type PivotedCholeskyOptions } from "./linalg/pivoted-cholesky.ts";
export { denseSymmetric, type SymmetricSource } from "./linalg/source.ts";

export { krr, RidgeRegression, type KrrOptions, type KrrProgress } from "./learn/krr.ts";
export type { RefusedRidge, RidgeFit, RidgePrediction } from "./learn/krr.ts";
export { KRR_METHODS, type KrrMethod } from "./learn/krr-plan.ts";
export { regressionScores, type RegressionScores } from "./learn/regression-scores.ts";
export {
  GradientFlow,
  gradientFlow,
  maxLearningRate,
  predict,
  type GradientFlowOptions,
} from "./learn/gradient-flow.ts";
export type { FlowInputs, FlowKernels, FlowPrediction } from "./learn/gradient-flow.ts";
export { runKrr, type KrrExperiment, type KrrResult, type KrrRow } from "./experiments/krr.ts";
export { PAPER_CONSTANTS, paperLambdas, paperLevels, parseLambdas } from "./experiments/krr-lambdas.ts";
export { runKrrSweep, type KrrSweep } from "./experiments/sweep-krr.ts";
export { sweepKernels, type SweepKernel } from "./experiments/sweep-kernels.ts";
export type { SweepFolder } from "./experiments/sweep-folder.ts";
export { bestOfSweep, type SweepBest, type SweepRow } from "./experiments/sweep-row.ts";
export { sweepSpec } from "./report/sweep-chart.ts";

export { closedKernel, closedKernelNames, type ClosedKernel } from "./covariance/closed-kernel.ts";
export { specTiles } from "./arch/spec-tiles.ts";
export type { KernelTiles, SizedTiles } from "./covariance/kernel-tiles.ts";
export { kernelSource } from "./covariance/kernel-source.ts";
export { MemoryMatrix, storedMatrix, type KernelMatrix } from "./covariance/matrix.ts";
export { KernelStore } from "./covariance/store/store.ts";
export { runKernelJob, type KernelJob, type KernelProgress, type TileSource } from "./covariance/job.ts";

export { verify } from "./covariance/store/verify.ts";
export type { Files } from "./platform/files.ts";
export { exportDiagonal, exportNpy } from "./covariance/export.ts";
export { importNpy } from "./covariance/import.ts";
export type { Program } from "./covariance/program.ts";
export { programCost, type ProgramCost } from "./covariance/cost.ts";
export { importMatrix } from "./covariance/import.ts";
export type { MatrixFile } from "./covariance/matrix-file.ts";
export { formatRanges, parseRanges, type Ranges } from "./data/ranges.ts";
export { storeKernel, type StoredKernelJob } from "./experiments/stored-kernel.ts";
export { RandomState } from "./numpy/random-state.ts";
export { drawArchitecture, drawnArch, type Drawn, type SkipRule } from "./experiments/search-draw.ts";
export { runSearch, type SearchExperiment, type SearchProgress } from "./experiments/search.ts";
export type { SearchFolder } from "./experiments/search-folder.ts";
export type { SearchRow } from "./experiments/search-row.ts";
export { runGp, type GpExperiment, type GpResult } from "./experiments/gp.ts";
export { planGp, type GpPlan, type GpPlanOptions, type KernelPlan } from "./experiments/gp-plan.ts";
export { gpMemory, type GpMemory, type MemoryPhase } from "./experiments/gp-memory.ts";
export { runConverge, type ConvergeExperiment, type ConvergeResult } from "./experiments/converge.ts";
export type { ConvergeProgress, PriorSampler, WidthResult } from "./experiments/converge.ts";
export { convergeCsv, convergeJson, outputsCsv, type ConvergeFacts } from "./experiments/converge-files.ts";
export { benchLinalg, type LinalgBenchHooks, type LinalgBenchRow } from "./experiments/bench-linalg.ts";
export { BENCH_METHODS, type BenchMethod, type LinalgBench } from "./experiments/bench-workloads.ts";
export { priorSampler } from "./experiments/prior-sampler.ts";

export { convergeSpec } from "./report/converge-figure.ts";
export { searchSpec, type SearchPoint } from "./report/search-chart.ts";

/** The package's version. */
export const version: string = WIDEFIELD_VERSION;
