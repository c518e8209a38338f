/**
 * Where the published datasets are downloaded from, and what must arrive: every download has its size and SHA-256 here.
 * They were compared with TensorFlow Datasets' (tensorflow_datasets/url_checksums: mnist.txt, fashion_mnist.txt,
 * cifar10.txt, cifar100.txt), Keras' for CIFAR's Python versions (keras/datasets/cifar10.py, cifar100.py), and
 * torchvision's for SVHN (torchvision/prototype/datasets/_builtin/svhn.py).
 */

export interface Download {
  /** Its name below a base address, and in the folder. */
  readonly file: string;
  readonly bytes: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

/** A .tar.gz, of which only these files are taken; they lie in one folder of it. */
export interface Archive extends Download {
  readonly folder: string;
  readonly members: readonly ArchiveMember[];
}

export interface ArchiveMember {
  readonly name: string;
  /** Where published. */
  readonly bytes?: number;
}

export interface DatasetSource {
  /** "mnist": what `widefield data fetch` calls it. */
  readonly name: string;
  /** What `--data` calls what was downloaded. */
  readonly dataset: string;
  /** The official address and its mirrors, each ending in "/", in the order in which they are tried. */
  readonly bases: readonly string[];
  /** Files that are kept as they come. */
  readonly downloads: readonly Download[];
  /** Of a dataset that comes in one piece. */
  readonly archive?: Archive;
}

const TORONTO = "https://www.cs.toronto.edu/~kriz/";
const BATCHES = [1, 2, 3, 4, 5].map((batch) => `data_batch_${batch}`);

function idxDownloads(sizes: readonly (readonly [bytes: number, sha256: string])[]): readonly Download[] {
  const names = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"];
  return sizes.map(([bytes, sha256], i) => ({ file: `${names[i] ?? ""}-ubyte.gz`, bytes, sha256 }));
}

export const SOURCES: readonly DatasetSource[] = [
  {
    name: "mnist",
    dataset: "mnist",
    bases: ["https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"],
    downloads: idxDownloads([
      [9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"],
      [28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"],
      [1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"],
      [4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"],
    ]),
  },
  {
    name: "fmnist",
    dataset: "fmnist",
    bases: [
      "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
      "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ],
    downloads: idxDownloads([
      [26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"],
      [29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"],
      [4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"],
      [5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"],
    ]),
  },
  {
    name: "cifar10",
    dataset: "cifar10",
    bases: [TORONTO],
    downloads: [],
    archive: {
      file: "cifar-10-binary.tar.gz",
      bytes: 170_052_171,
      sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
      folder: "cifar-10-batches-bin",
      members: [...BATCHES, "test_batch"].map((batch) => ({ name: `${batch}.bin`, bytes: 30_730_000 })),
    },
  },
  {
    name: "cifar10-python",
    dataset: "cifar10",
    bases: [TORONTO],
    downloads: [],
    archive: {
      file: "cifar-10-python.tar.gz",
      bytes: 170_498_071,
      sha256: "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
      folder: "cifar-10-batches-py",
      members: [31_035_704, 31_035_320, 31_035_999, 31_035_696, 31_035_623, 31_035_526].map((bytes, i) => ({
        name: BATCHES[i] ?? "test_batch",
        bytes,
      })),
    },
  },
  {
    name: "cifar100",
    dataset: "cifar100",
    bases: [TORONTO],
    downloads: [],
    archive: {
      file: "cifar-100-binary.tar.gz",
      bytes: 168_513_733,
      sha256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
      folder: "cifar-100-binary",
      members: [
        { name: "train.bin", bytes: 153_700_000 },
        { name: "test.bin", bytes: 30_740_000 },
      ],
    },
  },
  {
    name: "cifar100-python",
    dataset: "cifar100",
    bases: [TORONTO],
    downloads: [],
    archive: {
      file: "cifar-100-python.tar.gz",
      bytes: 169_001_437,
      sha256: "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
      folder: "cifar-100-python",
      members: [{ name: "train" }, { name: "test" }],
    },
  },
  {
    name: "svhn",
    dataset: "svhn",
    bases: ["http://ufldl.stanford.edu/housenumbers/"],
    downloads: [
      {
        file: "train_32x32.mat",
        bytes: 182_040_794,
        sha256: "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
      },
      {
        file: "extra_32x32.mat",
        bytes: 1_329_278_602,
        sha256: "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3",
      },
      {
        file: "test_32x32.mat",
        bytes: 64_275_384,
        sha256: "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
      },
    ],
  },
];
