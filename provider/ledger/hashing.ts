export { merkleRoot } from '../../protocol/merkle.ts'
export { receiptLeaf } from '../../protocol/receipt.ts'
